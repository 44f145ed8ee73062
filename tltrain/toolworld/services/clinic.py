"""A doctors' practice. Held out from training."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
from tltrain.toolworld.styles import HTTP
from tltrain.toolworld.world import DAYS, Row, World, check_day, check_time, people

DOCTORS = ("Ana Almeida", "Rahul Banerjee", "Lucia Castellano", "Petar Dimitrov", "Karin Engström")
DRUGS = ("ibuprofen", "metformin", "amoxicillin", "lisinopril", "salbutamol", "omeprazole", "loratadine")
ALLERGIES = ("penicillin", "latex", "peanuts", "pollen", "aspirin", "wasp stings")
REASONS = ("cough", "back pain", "check-up", "vaccination", "headache", "blood test", "sprained ankle")
Day = Annotated[str, "YYYY-MM-DD"]
Time = Annotated[str, "HH:MM"]
Doctor = Annotated[str, "full name"]
PatientId = Annotated[str, "like PT-100"]
AppointmentId = Annotated[str, "like A-100"]


def _tables(world: World, rng: Random) -> None:
    patients, allergies, prescriptions, visits, bookings = [], [], [], [], []
    for number, name in enumerate(people(rng, 50)):
        patient = f"PT-{100 + number}"
        patients.append((patient, name))
        allergies += [(patient, item) for item in rng.sample(ALLERGIES, rng.randint(0, 2))]
        prescriptions += [
            (patient, drug, f"{rng.randint(1, 3)} a day") for drug in rng.sample(DRUGS, rng.randint(1, 2))
        ]
        visits += [(patient, rng.choice(DAYS), rng.choice(REASONS)) for _ in range(rng.randint(1, 2))]
        start = f"{rng.randint(8, 16):02d}:{rng.choice(('00', '20', '40'))}"
        bookings.append((f"A-{100 + number}", patient, rng.choice(DOCTORS), rng.choice(DAYS), start))
    world.create("patients", "id, name", patients)
    world.create("allergies", "patient, substance", allergies)
    world.create("prescriptions", "patient, drug, dose", prescriptions)
    world.create("visits", "patient, day, reason", visits)
    world.create("appointments", "id, patient, doctor, day, start", bookings)


clinic = Service("clinic", "patients and appointments", HTTP, _tables)


def _check_patient(world: World, patient_id: str) -> None:
    world.require(f"patient {patient_id} is not registered", "SELECT id FROM patients WHERE id = ?", patient_id)


def _patient(d: ValueSampler) -> Slots:
    return {"patient_id": d.row("SELECT id FROM patients")["id"]}


@clinic.tool(
    draw=lambda d: d.row("SELECT name FROM patients"),
    wordings=(
        "Find the patient called {name}.",
        "Can you find the patient number of {name}?",
        "{name} is at the reception; please find the patient ID.",
        "Is there a patient named {name}? Find the number.",
        "I have to find {name} among our patients.",
        "Which patient ID does {name} have?",
    ),
    held_out=(
        "Find out the patient ID of {name}.",
        "Please find {name} in the patient register.",
    ),
    answer=lambda a, r: f"{a['name']} is patient {r['patient_id']}.",
)
def find_patient(world: World, name: Annotated[str, "full name"]) -> Row:
    """Find the patient number (patient ID) of a registered person by name."""
    return world.require(f"no patient named {name}", "SELECT id AS patient_id FROM patients WHERE name = ?", name)


@clinic.tool(
    draw=_patient,
    wordings=(
        "Which allergies does the patient {patient_id} have?",
        "Any known allergies for {patient_id}?",
        "Read me the allergies of {patient_id}, please.",
        "Could penicillin be dangerous for {patient_id}? Check the allergies.",
        "Are allergies on file for patient {patient_id}?",
        "I need {patient_id}'s allergies before the injection.",
        "What substances is {patient_id} allergic to?",
    ),
    held_out=(
        "Tell me about the allergies of {patient_id}.",
        "Does patient {patient_id} have any allergies we know of?",
    ),
    answer=lambda a, r: f"Allergies of {a['patient_id']}: {each(r, '{substance}')}.",
)
def get_patient_allergies(world: World, patient_id: PatientId) -> list[Row]:
    """Allergies of a patient: substances they are allergic to, react to and avoid."""
    _check_patient(world, patient_id)
    return world.all("SELECT substance FROM allergies WHERE patient = ?", patient_id)


@clinic.tool(
    draw=_patient,
    wordings=(
        "Which prescriptions does {patient_id} have?",
        "What drugs are on the prescriptions of {patient_id}?",
        "Show me the current prescriptions of patient {patient_id}.",
        "All prescriptions for {patient_id} with their doses, please.",
        "The pharmacy asks about {patient_id}'s prescriptions.",
        "Are there prescriptions for patient {patient_id}? Which medicines?",
        "What medicines does {patient_id} take?",
    ),
    held_out=(
        "Read me the prescriptions of {patient_id}.",
        "What dose do the prescriptions of {patient_id} give?",
    ),
    answer=lambda a, r: f"{a['patient_id']} takes {each(r, '{drug} ({dose})')}.",
)
def get_patient_prescriptions(world: World, patient_id: PatientId) -> list[Row]:
    """Current prescriptions of a patient: the medicines and drugs they take, with doses."""
    _check_patient(world, patient_id)
    return world.all("SELECT drug, dose FROM prescriptions WHERE patient = ?", patient_id)


@clinic.tool(
    draw=_patient,
    wordings=(
        "When were the visits of {patient_id}?",
        "What were the reasons for {patient_id}'s visits?",
        "Show me the past visits of patient {patient_id}.",
        "On which days did {patient_id} visit us?",
        "I need all earlier visits of {patient_id}.",
        "How many visits has the patient {patient_id} made so far?",
        "For what reason did {patient_id} come before?",
    ),
    held_out=(
        "Go through {patient_id}'s visits with their reasons.",
        "Why did {patient_id} visit us in the past?",
    ),
    answer=lambda a, r: f"{a['patient_id']} came for {each(r, '{reason} on {day}')}.",
)
def get_patient_visits(world: World, patient_id: PatientId) -> list[Row]:
    """Past visits of a patient: the earlier days they came, and the reasons."""
    _check_patient(world, patient_id)
    return world.all("SELECT day, reason FROM visits WHERE patient = ? ORDER BY day DESC", patient_id)


@clinic.tool(
    draw=lambda d: {"doctor": d.pick(DOCTORS), "day": d.day()},
    wordings=(
        "Which appointments does the doctor {doctor} have?",
        "Show the doctor's appointments on {day}: {doctor}.",
        "What appointments are in doctor {doctor}'s timetable?",
        "Doctor {doctor} wants to see the appointments of {day}.",
        "Has the doctor {doctor} any appointments on {day}?",
        "All appointments with doctor {doctor}, please.",
        "Whom does the doctor {doctor} see on {day}?",
    ),
    held_out=(
        "Does doctor {doctor} have appointments on {day}?",
        "Read me the timetable of the doctor {doctor}.",
    ),
    answer=lambda a, r: f"{a['doctor']} has {each(r, '{patient_id} on {day} at {start}')}.",
)
def get_appointments_by_doctor(world: World, doctor: Doctor, day: Day | None = None) -> list[Row]:
    """Appointments of a doctor: the timetable of whom they see, optionally on one day."""
    if doctor not in DOCTORS:
        raise LookupError(f"no doctor named {doctor}")
    sql = "SELECT id AS appointment_id, patient AS patient_id, day, start FROM appointments WHERE doctor = ?"
    where = "%" if day is None else check_day(day)
    return world.all(f"{sql} AND day LIKE ? ORDER BY day, start", doctor, where)


@clinic.tool(
    draw=_patient,
    wordings=(
        "Which appointments does patient {patient_id} have?",
        "When is the next appointment of the patient {patient_id}?",
        "Patient {patient_id} asks about upcoming appointments.",
        "Are any appointments booked for patient {patient_id}?",
        "With which doctor does patient {patient_id} have appointments?",
        "Show the appointments of the patient {patient_id}.",
        "For when is {patient_id} booked in?",
    ),
    held_out=(
        "Has the patient {patient_id} any appointments with us?",
        "I need the upcoming appointments for patient {patient_id}.",
    ),
    answer=lambda a, r: f"{a['patient_id']} is booked with {each(r, '{doctor} on {day} at {start}')}.",
)
def get_appointments_by_patient(world: World, patient_id: PatientId) -> list[Row]:
    """Upcoming appointments of one patient: when they are booked or due, with which doctor."""
    _check_patient(world, patient_id)
    sql = "SELECT id AS appointment_id, doctor, day, start FROM appointments WHERE patient = ? ORDER BY day"
    return world.all(sql, patient_id)


@clinic.tool(
    draw=lambda d: {**_patient(d), "doctor": d.pick(DOCTORS), "day": d.day(), "start": d.time()},
    wordings=(
        "Book {patient_id} in with {doctor} on {day} at {start}.",
        "Book an appointment for {patient_id}: {doctor}, {day}, {start}.",
        "Please book {doctor} for patient {patient_id}: {day}, {start}.",
        "I'd like to book an appointment: {patient_id}, {doctor}, {day}, {start}.",
        "Can {patient_id} be booked with {doctor} on {day} at {start}?",
        "{patient_id} would like to book {doctor}, {start} on {day}.",
        "New appointment for {patient_id}: {doctor}, {day}, {start}.",
    ),
    held_out=(
        "Can you book {patient_id} in at {start} on {day} with {doctor}?",
        "For {patient_id}, book {doctor} at {start} on {day}.",
    ),
    answer=lambda a, r: f"{a['patient_id']} sees {a['doctor']} on {a['day']} at {a['start']} ({r['appointment_id']}).",
)
def book_appointment(world: World, patient_id: PatientId, doctor: Doctor, day: Day, start: Time) -> Row:
    """Book a new appointment for a patient, at a day and time."""
    _check_patient(world, patient_id)
    if doctor not in DOCTORS:
        raise LookupError(f"no doctor named {doctor}")
    appointment = f"A-{world.next_number('appointments')}"
    values = (appointment, patient_id, doctor, check_day(day), check_time(start))
    world.run("INSERT INTO appointments VALUES (?, ?, ?, ?, ?)", *values)
    return {"appointment_id": appointment}


@clinic.tool(
    draw=lambda d: {"appointment_id": d.row("SELECT id FROM appointments")["id"]},
    wordings=(
        "Please cancel the appointment {appointment_id}.",
        "Cancel {appointment_id}, nobody is coming.",
        "The patient is ill; cancel {appointment_id}.",
        "{appointment_id} must be cancelled.",
        "Appointment {appointment_id} is to be cancelled.",
        "Can you cancel {appointment_id} for me?",
        "Delete the appointment {appointment_id}.",
    ),
    held_out=(
        "Cancel {appointment_id}, it's not needed any longer.",
        "The appointment {appointment_id} should be cancelled.",
    ),
    answer=lambda a, r: f"{a['appointment_id']} with {r['doctor']} is cancelled.",
)
def cancel_appointment(world: World, appointment_id: AppointmentId) -> Row:
    """Cancel an appointment: delete it, so that its slot is free again."""
    sql = "SELECT doctor FROM appointments WHERE id = ?"
    doctor = world.require(f"appointment {appointment_id} does not exist", sql, appointment_id)["doctor"]
    world.run("DELETE FROM appointments WHERE id = ?", appointment_id)
    return {"doctor": doctor, "cancelled": True}


clinic.chain(
    ("find_patient", lambda s, r: {"name": s["name"]}),
    ("get_patient_allergies", lambda s, r: {"patient_id": r[0]["patient_id"]}),
    draw=lambda d: d.row("SELECT name FROM patients"),
    wordings=(
        "Find the patient {name} first, then tell me the allergies.",
        "I only know the patient's name, {name}: which allergies are known?",
        "Find the patient named {name}. Any allergies?",
    ),
    held_out=("Please find {name} among the patients, then check the allergies.",),
)
clinic.chain(
    ("find_patient", lambda s, r: {"name": s["name"]}),
    ("get_patient_prescriptions", lambda s, r: {"patient_id": r[0]["patient_id"]}),
    draw=lambda d: d.row("SELECT name FROM patients"),
    wordings=(
        "Find the patient {name} first: which prescriptions are current?",
        "The patient's name is {name}. Find the number, then the prescriptions.",
        "Find out the patient number of {name}, then read me the prescriptions.",
    ),
    held_out=("Please find the patient {name}, then show the prescriptions.",),
)
clinic.chain(
    ("find_patient", lambda s, r: {"name": s["name"]}),
    ("get_appointments_by_patient", lambda s, r: {"patient_id": r[0]["patient_id"]}),
    ("cancel_appointment", lambda s, r: {"appointment_id": r[1][0]["appointment_id"]}),
    draw=lambda d: d.row("SELECT name FROM patients"),
    wordings=(
        "Find the patient {name}, look up the appointments and cancel the first.",
        "The patient {name} is ill. Find the number, then cancel the upcoming appointment.",
        "I only have a name: {name}. Find this patient's appointment and cancel it.",
    ),
    held_out=("First find the patient {name}, then cancel the booked appointment.",),
)
clinic.small_talk = (
    ("How many litres of blood does an adult have?", "About five litres."),
    ("What is a normal body temperature?", "Around 37 °C."),
    ("What does a dermatologist treat?", "Diseases of the skin."),
    ("Should I drink water before a blood test?", "Water is usually fine; ask the practice about eating."),
)
clinic.unsupported_requests = (
    "Send an ambulance to {person} in {city}.",
    "Write a sick note for {person} until {day}.",
    "Read the X-ray picture of {person} and tell me what is broken.",
    "Transfer the bill of {number} euros to {person}'s health insurance.",
)
