"""An evening school. Held out from training."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Draw, Service, Slots, each
from tltrain.toolworld.styles import PYTHON
from tltrain.toolworld.world import Row, World, people

TITLES = tuple(
    f"{subject} {level}"
    for subject in ("Pottery", "Spanish", "Chess", "Guitar", "Drawing", "Yoga", "Bookkeeping", "Sewing")
    for level in ("for beginners", "intermediate", "masterclass")
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
GRADES = ("A", "B", "C", "D")
Grade = Literal["A", "B", "C", "D"]
Student = Annotated[str, "full name"]
CourseId = Annotated[str, "like CR-100"]


def _tables(world: World, rng: Random) -> None:
    names = people(rng, 40)
    teachers, students = names[:10], names[10:]
    rows, places = [], []
    for number, title in enumerate(TITLES):
        course, room = f"CR-{100 + number}", f"{rng.choice('ABC')}{rng.randint(1, 20)}"
        when = (rng.choice(WEEKDAYS), f"{rng.randint(17, 20)}:00")
        rows.append((course, title, rng.choice(teachers), rng.randint(60, 300), rng.randint(8, 16), *when, room))
        places += [(course, student, rng.choice((*GRADES, None))) for student in rng.sample(students, 4)]
    world.create("courses", "id, title, teacher, fee, places, weekday, start, room", rows)
    world.create("enrolments", "course, student, grade", places)


courses = Service("courses", "evening courses", PYTHON, _tables)


def _course(world: World, course_id: str) -> Row:
    row = world.one("SELECT * FROM courses WHERE id = ?", course_id)
    if row is None:
        raise KeyError(course_id)
    return row


def _id(d: Draw) -> Slots:
    return {"course_id": d.row("SELECT id FROM courses")["id"]}


_STUDENTS = "SELECT DISTINCT student FROM enrolments"
_PLACES = "SELECT course AS course_id, student FROM enrolments"


@courses.tool(
    draw=lambda d: {"title": d.pick(TITLES)},
    asks=(
        'What is the number of the course "{title}"?',
        'Under which ID is "{title}" listed?',
        'Which CR number does "{title}" have?',
        'Do you offer "{title}"? I need its ID.',
        'How is "{title}" numbered in the programme?',
        'Look up the course number for "{title}", please.',
    ),
    held_out=('What ID goes with "{title}"?', 'I need the CR number of "{title}".'),
    answer=lambda a, r: f"{a['title']} is course {r['course_id']}.",
)
def find_course(world: World, title: str) -> Row:
    """Look up the course ID (course number) under which a title is listed."""
    return world.need(f"no course titled {title!r}", "SELECT id AS course_id FROM courses WHERE title = ?", title)


@courses.tool(
    draw=_id,
    asks=(
        "Who teaches {course_id}, and what does it cost?",
        "How expensive is {course_id}?",
        "What is the fee for {course_id}?",
        "Which teacher gives {course_id}?",
        "How many places does {course_id} offer in total?",
        "Tell me title, teacher and fee of {course_id}.",
    ),
    held_out=("What do I pay for {course_id}?", "By whom is {course_id} taught?"),
    answer=lambda a, r: f"{a['course_id']} is {r['title']} with {r['teacher']}, {r['fee']} EUR, {r['places']} places.",
)
def get_course(world: World, course_id: CourseId) -> Row:
    """One course: its title, teacher, fee and number of places, by course ID."""
    row = _course(world, course_id)
    return {key: row[key] for key in ("title", "teacher", "fee", "places")}


@courses.tool(
    draw=_id,
    asks=(
        "When and where does {course_id} meet?",
        "On which weekday is {course_id}?",
        "In which room is {course_id} held?",
        "What time does {course_id} start in the evening?",
        "I'm going to {course_id} for the first time. Which day, hour and room?",
        "Does {course_id} meet on Tuesdays? When exactly?",
    ),
    held_out=(
        "At what hour and in which room does {course_id} take place?",
        "Which evening of the week is {course_id}?",
    ),
    answer=lambda a, r: f"{a['course_id']} meets on {r['weekday']} at {r['start']} in room {r['room']}.",
)
def get_course_schedule(world: World, course_id: CourseId) -> Row:
    """When and where a course meets: its weekday, start time and room."""
    row = _course(world, course_id)
    return {key: row[key] for key in ("weekday", "start", "room")}


@courses.tool(
    draw=_id,
    asks=(
        "Who is taking {course_id}?",
        "Which participants does {course_id} have?",
        "Read me the attendance list of {course_id}.",
        "How many people signed up for {course_id}, and who are they?",
        "Who will be sitting in {course_id}?",
        "Give me the names of everybody in {course_id}.",
    ),
    held_out=("Which people attend {course_id}?", "Names of the participants in {course_id}, please."),
    answer=lambda a, r: f"In {a['course_id']} are {', '.join(r)}.",
)
def get_course_students(world: World, course_id: CourseId) -> list[str]:
    """Attendance list of a course: names of all participants who signed up."""
    _course(world, course_id)
    rows = world.all("SELECT student FROM enrolments WHERE course = ? ORDER BY student", course_id)
    return [row["student"] for row in rows]


@courses.tool(
    draw=lambda d: d.row("SELECT DISTINCT teacher FROM courses"),
    asks=(
        "What does {teacher} teach?",
        "Which of our courses are given by {teacher}?",
        "I liked {teacher}. What else do they offer here?",
        "Show everything taught by {teacher}.",
        "Which subjects can I learn from {teacher}?",
        "Is {teacher} teaching this term? What?",
    ),
    held_out=("Which lessons does {teacher} give?", "What can one study with {teacher}?"),
    answer=lambda a, r: f"{a['teacher']} teaches {each(r, '{title} ({course_id})')}.",
)
def list_courses_by_teacher(world: World, teacher: Annotated[str, "full name"]) -> list[Row]:
    """Courses that one teacher gives: what this person teaches."""
    rows = world.all("SELECT id AS course_id, title FROM courses WHERE teacher = ? ORDER BY id", teacher)
    if not rows:
        raise LookupError(f"no teacher named {teacher}")
    return rows


@courses.tool(
    draw=lambda d: d.row(_STUDENTS),
    asks=(
        "Which courses is {student} signed up for?",
        "What is {student} learning with us?",
        "Which courses does {student} attend, and with what grades?",
        "What grades did {student} get?",
        "Is {student} taking anything this term?",
        "How is {student} doing in their courses?",
    ),
    held_out=("In which courses does {student} sit?", "Show me {student}'s courses and grades."),
    answer=lambda a, r: f"{a['student']} takes {each(r, '{course_id} {title} (grade {grade})')}.",
)
def list_courses_by_student(world: World, student: Student) -> list[Row]:
    """Courses one student attends or is signed up for, with their grades."""
    sql = "SELECT course AS course_id, title, grade FROM enrolments JOIN courses ON courses.id = course"
    rows = world.all(f"{sql} WHERE student = ? ORDER BY course", student)
    if not rows:
        raise LookupError(f"no student named {student}")
    return rows


@courses.tool(
    draw=lambda d: {**_id(d), "student": f"{d.row(_STUDENTS)['student']}"},
    asks=(
        "Sign {student} up for {course_id}.",
        "{student} wants to take {course_id}. Please arrange it.",
        "Add {student} to {course_id}.",
        "Put {student} on the list for {course_id}, please.",
        "{course_id} gets a new participant: {student}.",
        "Register {student} for {course_id}.",
    ),
    held_out=("{student} would like to join {course_id}; sign them up.", "Get {student} a place in {course_id}."),
    answer=lambda a, r: f"{a['student']} now takes {a['course_id']}; {r['places_left']} places are left.",
)
def enrol_student(world: World, course_id: CourseId, student: Student) -> Row:
    """Sign a person up for a course, as a new participant."""
    places = _course(world, course_id)["places"]
    sql = "SELECT student FROM enrolments WHERE course = ?"
    world.run("INSERT INTO enrolments VALUES (?, ?, NULL)", course_id, student)
    return {"places_left": places - len(world.all(sql, course_id))}


@courses.tool(
    draw=lambda d: {**d.row(_PLACES), "grade": d.pick(GRADES)},
    asks=(
        "{student} earned a {grade} in {course_id}. Record it.",
        "Mark for {student} in {course_id}: {grade}.",
        "In {course_id}, {student} gets a {grade}.",
        "Enter {grade} as the result of {student} in {course_id}.",
        "Please note a {grade} for {student}, {course_id}.",
        "The final mark of {student} in {course_id} is {grade}.",
    ),
    held_out=("{student} passed {course_id} with {grade}. Note that.", "Give {student} a {grade} for {course_id}."),
    answer=lambda a, r: f"{a['student']} has a {a['grade']} in {a['course_id']}.",
)
def grade_student(world: World, course_id: CourseId, student: Student, grade: Grade) -> Row:
    """Record the grade or mark that a student earned in a course."""
    _course(world, course_id)
    sql = "UPDATE enrolments SET grade = ? WHERE course = ? AND student = ?"
    if world.run(sql, grade, course_id, student) == 0:
        raise LookupError(f"{student} is not in {course_id}")
    return {"course_id": course_id, "student": student, "grade": grade}


courses.chain(
    ("find_course", lambda s, r: {"title": s["title"]}),
    ("get_course_schedule", lambda s, r: {"course_id": r[0]["course_id"]}),
    draw=lambda d: {"title": d.pick(TITLES)},
    asks=(
        'When and in which room does "{title}" meet?',
        'On what weekday is "{title}"?',
        'I want to go to "{title}". Which room, which evening?',
    ),
    held_out=('At what hour does "{title}" start, and where?',),
)
courses.chain(
    ("find_course", lambda s, r: {"title": s["title"]}),
    ("get_course_students", lambda s, r: {"course_id": r[0]["course_id"]}),
    draw=lambda d: {"title": d.pick(TITLES)},
    asks=(
        'Who takes part in "{title}"?',
        'Read me the participants of "{title}".',
        'Which people attend "{title}"?',
    ),
    held_out=('Give me the names of everyone in "{title}".',),
)
courses.chain(
    ("find_course", lambda s, r: {"title": s["title"]}),
    ("enrol_student", lambda s, r: {"course_id": r[0]["course_id"], "student": s["student"]}),
    draw=lambda d: {"title": d.pick(TITLES), **d.row(_STUDENTS)},
    asks=(
        'Sign {student} up for "{title}".',
        '{student} would like to take "{title}". Please arrange it.',
        'Put {student} on the list for "{title}".',
    ),
    held_out=('Get {student} a place in "{title}".',),
)
courses.talk = (
    ("How can I learn new words faster?", "Repeat them in small portions, at growing intervals."),
    (
        "What's the difference between a teacher and a tutor?",
        "A teacher leads a class; a tutor mostly helps one person.",
    ),
    ("How many squares are on a chessboard?", "Sixty-four small ones."),
    ("What clay is best for beginners?", "Smooth stoneware clay is forgiving and easy to shape."),
)
courses.beyond = (
    "Write {person}'s homework for next week.",
    "Print {number} certificates and hang them in the hall.",
    "Ask the city of {city} for more money for our school.",
    "Cook dinner for the teachers on {day}.",
)
