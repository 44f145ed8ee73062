"""A doctors' practice. Held out from training."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Draw, Service, Slots, each
from tltrain.toolworld.styles import HTTP
from tltrain.toolworld.world import DAYS, Row, World, check_day, check_time, people

DOCTORS = ("Dr Almeida", "Dr Banerjee", "Dr Castellano", "Dr Dimitrov", "Dr Engström")
DRUGS = ("ibuprofen", "metformin", "amoxicillin", "lisinopril", "salbutamol", "omeprazole", "loratadine")
ALLERGIES = ("penicillin", "latex", "peanuts", "pollen", "aspirin", "wasp stings")
REASONS = ("cough", "back pain", "check-up", "vaccination", "headache", "blood test", "sprained ankle")
Day = Annotated[str, "YYYY-MM-DD"]
Time = Annotated[str, "HH:MM"]
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
    world.need(f"patient {patient_id} is not registered", "SELECT id FROM patients WHERE id = ?", patient_id)


def _patient(d: Draw) -> Slots:
    return {"patient_id": d.row("SELECT id FROM patients")["id"]}


@clinic.tool(
    draw=lambda d: d.row("SELECT name FROM patients"),
    asks=(
        "What's the patient number of {name}?",
        "Is {name} registered with our practice? Under what number?",
        "I need the PT number for {name}.",
        "{name} is at the reception. What is their patient ID?",
        "Under which ID do we keep {name}'s file?",
        "Which patient ID does {name} have?",
    ),
    held_out=("Look up the patient ID of {name}.", "{name} forgot their patient number, what is it?"),
    answer=lambda a, r: f"{a['name']} is patient {r['patient_id']}.",
)
def find_patient(world: World, name: Annotated[str, "full name"]) -> Row:
    """Look up a patient ID by name, for a person registered with the practice."""
    return world.need(f"no patient named {name}", "SELECT id AS patient_id FROM patients WHERE name = ?", name)


@clinic.tool(
    draw=_patient,
    asks=(
        "What must {patient_id} stay away from because of a reaction?",
        "Is {patient_id} allergic to anything?",
        "Before I give {patient_id} the injection: any known intolerances?",
        "Which substances does {patient_id} react badly to?",
        "Could penicillin be dangerous for {patient_id}? Check what they react to.",
        "Is anything noted about {patient_id} and allergic reactions?",
    ),
    held_out=("What can't {patient_id} tolerate?", "To what is {patient_id} hypersensitive?"),
    answer=lambda a, r: f"Allergies of {a['patient_id']}: {each(r, '{substance}')}.",
)
def get_patient_allergies(world: World, patient_id: PatientId) -> list[Row]:
    """What a patient is allergic to: substances they do not tolerate and must avoid."""
    _check_patient(world, patient_id)
    return world.all("SELECT substance FROM allergies WHERE patient = ?", patient_id)


@clinic.tool(
    draw=_patient,
    asks=(
        "Which medicines does {patient_id} take?",
        "What medication is {patient_id} on, and in what dose?",
        "What did we prescribe for {patient_id}?",
        "List the drugs {patient_id} is taking at present.",
        "How many tablets a day is {patient_id} supposed to take, and of what?",
        "{patient_id} lost the medication plan. What's on it?",
    ),
    held_out=("What pills does {patient_id} get from us?", "Tell me the current medicines of {patient_id}."),
    answer=lambda a, r: f"{a['patient_id']} takes {each(r, '{drug} ({dose})')}.",
)
def get_patient_prescriptions(world: World, patient_id: PatientId) -> list[Row]:
    """Medication plan of a patient: the medicines or drugs they take and their doses."""
    _check_patient(world, patient_id)
    return world.all("SELECT drug, dose FROM prescriptions WHERE patient = ?", patient_id)


@clinic.tool(
    draw=_patient,
    asks=(
        "When was {patient_id} last here, and why?",
        "For what reasons has {patient_id} come to us in the past?",
        "Has {patient_id} been seen here before? What for?",
        "Show me the past consultations of {patient_id}.",
        "What was wrong with {patient_id} the previous times?",
        "On which days did {patient_id} already come in?",
    ),
    held_out=("What brought {patient_id} to us up to now?", "List the earlier consultations of {patient_id}."),
    answer=lambda a, r: f"{a['patient_id']} came for {each(r, '{reason} on {day}')}.",
)
def get_patient_visits(world: World, patient_id: PatientId) -> list[Row]:
    """Past visits and consultations of a patient: the days and reasons they came."""
    _check_patient(world, patient_id)
    return world.all("SELECT day, reason FROM visits WHERE patient = ? ORDER BY day DESC", patient_id)


@clinic.tool(
    draw=lambda d: {"doctor": d.pick(DOCTORS), "day": d.day()},
    asks=(
        "Whom is {doctor} going to see?",
        "Which appointments does {doctor} have?",
        "What's on {doctor}'s list for {day}?",
        "Is {doctor} booked on {day}?",
        "Show me {doctor}'s schedule.",
        "Which patients are coming to {doctor} on {day}?",
    ),
    held_out=("How full is {doctor}'s timetable?", "Who will come to {doctor} on {day}?"),
    answer=lambda a, r: f"{a['doctor']} has {each(r, '{patient_id} on {day} at {start}')}.",
)
def get_appointments_by_doctor(world: World, doctor: str, day: Day | None = None) -> list[Row]:
    """Schedule of a doctor: which patients are booked and when, optionally on one day."""
    if doctor not in DOCTORS:
        raise LookupError(f"no doctor named {doctor}")
    sql = "SELECT id AS appointment_id, patient AS patient_id, day, start FROM appointments WHERE doctor = ?"
    where = "%" if day is None else check_day(day)
    return world.all(f"{sql} AND day LIKE ? ORDER BY day, start", doctor, where)


@clinic.tool(
    draw=_patient,
    asks=(
        "When is {patient_id} due to come in next, and to whom?",
        "Does {patient_id} have an appointment with us?",
        "With which doctor is {patient_id} booked?",
        "{patient_id} asks when their appointment is.",
        "At what time should {patient_id} be here?",
        "What is booked for {patient_id}?",
    ),
    held_out=("For when is {patient_id} booked in?", "Which doctor will {patient_id} be seeing, and when?"),
    answer=lambda a, r: f"{a['patient_id']} is booked with {each(r, '{doctor} on {day} at {start}')}.",
)
def get_appointments_by_patient(world: World, patient_id: PatientId) -> list[Row]:
    """Appointments booked for one patient: when they are due, with which doctor."""
    _check_patient(world, patient_id)
    sql = "SELECT id AS appointment_id, doctor, day, start FROM appointments WHERE patient = ? ORDER BY day"
    return world.all(sql, patient_id)


@clinic.tool(
    draw=lambda d: {**_patient(d), "doctor": d.pick(DOCTORS), "day": d.day(), "start": d.time()},
    asks=(
        "{patient_id} would like to see {doctor} on {day} at {start}. Please arrange that.",
        "Put {patient_id} down for {doctor}: {day}, {start}.",
        "Give {patient_id} a slot with {doctor} on {day} at {start}.",
        "On {day} at {start}, {doctor} should see {patient_id}. Enter it.",
        "Please fit {patient_id} in with {doctor} at {start} on {day}.",
        "New booking: {patient_id}, {doctor}, {day}, {start}.",
    ),
    held_out=(
        "Arrange for {doctor} to see {patient_id} on {day} at {start}.",
        "{patient_id} wants to come to {doctor} at {start} on {day}; note it.",
    ),
    answer=lambda a, r: f"{a['patient_id']} sees {a['doctor']} on {a['day']} at {a['start']} ({r['appointment_id']}).",
)
def book_appointment(world: World, patient_id: PatientId, doctor: str, day: Day, start: Time) -> Row:
    """Book a patient in to see a doctor, at a day and time."""
    _check_patient(world, patient_id)
    if doctor not in DOCTORS:
        raise LookupError(f"no doctor named {doctor}")
    appointment = f"A-{world.next_number('appointments')}"
    values = (appointment, patient_id, doctor, check_day(day), check_time(start))
    world.run("INSERT INTO appointments VALUES (?, ?, ?, ?, ?)", *values)
    return {"appointment_id": appointment}


@clinic.tool(
    draw=lambda d: {"appointment_id": d.row("SELECT id FROM appointments")["id"]},
    asks=(
        "{appointment_id} won't take place, the patient is ill.",
        "Please call off {appointment_id}.",
        "Delete {appointment_id} from the schedule.",
        "The patient doesn't want {appointment_id} any more; remove it.",
        "Free the slot of {appointment_id}, nobody will come.",
        "Drop {appointment_id}, please.",
    ),
    held_out=("{appointment_id} is not needed any longer, strike it.", "Take {appointment_id} off the list."),
    answer=lambda a, r: f"{a['appointment_id']} with {r['doctor']} is cancelled.",
)
def cancel_appointment(world: World, appointment_id: AppointmentId) -> Row:
    """Call off an appointment and delete it from the schedule, by appointment ID."""
    sql = "SELECT doctor FROM appointments WHERE id = ?"
    doctor = world.need(f"appointment {appointment_id} does not exist", sql, appointment_id)["doctor"]
    world.run("DELETE FROM appointments WHERE id = ?", appointment_id)
    return {"doctor": doctor, "cancelled": True}


clinic.chain(
    ("find_patient", lambda s, r: {"name": s["name"]}),
    ("get_patient_allergies", lambda s, r: {"patient_id": r[0]["patient_id"]}),
    draw=lambda d: d.row("SELECT name FROM patients"),
    asks=(
        "Is {name} allergic to anything?",
        "Which substances must {name} avoid?",
        "{name} gets an injection in a minute. Any known allergic reactions?",
    ),
    held_out=("What does {name} react badly to?",),
)
clinic.chain(
    ("find_patient", lambda s, r: {"name": s["name"]}),
    ("get_patient_prescriptions", lambda s, r: {"patient_id": r[0]["patient_id"]}),
    draw=lambda d: d.row("SELECT name FROM patients"),
    asks=(
        "Which medicines does {name} take?",
        "{name} lost the medication plan. What has been prescribed?",
        "What drugs is {name} on?",
    ),
    held_out=("Tell me the medication of {name}.",),
)
clinic.chain(
    ("find_patient", lambda s, r: {"name": s["name"]}),
    ("get_appointments_by_patient", lambda s, r: {"patient_id": r[0]["patient_id"]}),
    ("cancel_appointment", lambda s, r: {"appointment_id": r[1][0]["appointment_id"]}),
    draw=lambda d: d.row("SELECT name FROM patients"),
    asks=(
        "{name} can't come. Please call off their appointment.",
        "{name} is ill, so find their booking and delete it.",
        "Drop the appointment that {name} has with us.",
    ),
    held_out=("{name} won't be coming; take their appointment off the list.",),
)
clinic.talk = (
    ("How many litres of blood does an adult have?", "About five litres."),
    ("What is a normal body temperature?", "Around 37 °C."),
    ("What does a dermatologist treat?", "Diseases of the skin."),
    ("Should I drink water before a blood test?", "Water is usually fine; ask the practice about eating."),
)
clinic.beyond = (
    "Send an ambulance to {person} in {city}.",
    "Write a sick note for {person} until {day}.",
    "Read the X-ray picture of {person} and tell me what is broken.",
    "Transfer the bill of {number} euros to {person}'s health insurance.",
)
