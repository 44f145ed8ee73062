"""An evening school. Held out from training."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
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
    row = world.first("SELECT * FROM courses WHERE id = ?", course_id)
    if row is None:
        raise KeyError(course_id)
    return row


def _id(d: ValueSampler) -> Slots:
    return {"course_id": d.row("SELECT id FROM courses")["id"]}


_STUDENTS = "SELECT DISTINCT student FROM enrolments"
_PLACES = "SELECT course AS course_id, student FROM enrolments"


@courses.tool(
    draw=lambda d: {"title": d.pick(TITLES)},
    wordings=(
        'Find the course "{title}".',
        'Can you find a course titled "{title}"?',
        'I cannot find "{title}" among the courses. Which ID is it?',
        'Please find out which course ID "{title}" has.',
        'Is there a course with the title "{title}"? Find it.',
        'Which ID does the course with the title "{title}" have?',
    ),
    held_out=(
        'Find the ID of the course titled "{title}".',
        'Under which course ID can I find "{title}"?',
    ),
    answer=lambda a, r: f"{a['title']} is course {r['course_id']}.",
)
def find_course(world: World, title: str) -> Row:
    """Find the ID of a course by its title in the programme."""
    return world.require(f"no course titled {title!r}", "SELECT id AS course_id FROM courses WHERE title = ?", title)


@courses.tool(
    draw=_id,
    wordings=(
        "What does the course {course_id} cost?",
        "What is the fee for course {course_id}?",
        "How many places does course {course_id} have?",
        "I'd like the fee and the places of the course {course_id}.",
        "By whom is the course {course_id} taught?",
        "Tell me the cost and the places of course {course_id}.",
        "How expensive is {course_id}?",
    ),
    held_out=(
        "How high is the fee of the course {course_id}?",
        "Course {course_id}: how many places, what fee?",
    ),
    answer=lambda a, r: f"{a['course_id']} is {r['title']} with {r['teacher']}, {r['fee']} EUR, {r['places']} places.",
)
def get_course(world: World, course_id: CourseId) -> Row:
    """Fee (cost) and number of places of a course, and by whom it is taught."""
    row = _course(world, course_id)
    return {key: row[key] for key in ("title", "teacher", "fee", "places")}


@courses.tool(
    draw=_id,
    wordings=(
        "What is the schedule of {course_id}?",
        "Show me the schedule for course {course_id}.",
        "On which weekday is {course_id} scheduled?",
        "At what time and in which room is course {course_id} scheduled?",
        "I need the course schedule of {course_id}: weekday and room.",
        "Schedule of {course_id}, please.",
        "In which room does the course {course_id} meet?",
    ),
    held_out=(
        "Is {course_id} scheduled for a certain weekday?",
        "What does {course_id}'s schedule say about room and time?",
    ),
    answer=lambda a, r: f"{a['course_id']} meets on {r['weekday']} at {r['start']} in room {r['room']}.",
)
def get_course_schedule(world: World, course_id: CourseId) -> Row:
    """Schedule of a course: the weekday, start time and room in which it meets."""
    row = _course(world, course_id)
    return {key: row[key] for key in ("weekday", "start", "room")}


@courses.tool(
    draw=_id,
    wordings=(
        "Which students take the course {course_id}?",
        "Names of all students in course {course_id}, please.",
        "How many students take {course_id}?",
        "Who are the students of the course {course_id}? Names, please.",
        "Show me the students who take course {course_id}.",
        "I need the names of {course_id}'s students.",
        "Who are the participants of {course_id}?",
    ),
    held_out=(
        "Name the students who take the course {course_id}.",
        "Do any students take course {course_id}? Which ones?",
    ),
    answer=lambda a, r: f"In {a['course_id']} are {', '.join(r)}.",
)
def get_course_students(world: World, course_id: CourseId) -> list[str]:
    """Students of a course: the names of all participants who take it."""
    _course(world, course_id)
    rows = world.all("SELECT student FROM enrolments WHERE course = ? ORDER BY student", course_id)
    return [row["student"] for row in rows]


@courses.tool(
    draw=lambda d: d.row("SELECT DISTINCT teacher FROM courses"),
    wordings=(
        "Which courses does the teacher {teacher} give?",
        "List the courses of our teacher {teacher}.",
        "What courses is {teacher} teaching?",
        "Show all courses by the teacher {teacher}.",
        "Does {teacher} teach any courses this term?",
        "I liked {teacher} as a teacher. Which other courses are there?",
        "What subjects does {teacher} teach?",
    ),
    held_out=(
        "In which courses is {teacher} the teacher?",
        "What can I learn from the teacher {teacher}?",
    ),
    answer=lambda a, r: f"{a['teacher']} teaches {each(r, '{title} ({course_id})')}.",
)
def list_courses_by_teacher(world: World, teacher: Annotated[str, "full name"]) -> list[Row]:
    """Courses of one teacher: all subjects and lessons this person teaches."""
    rows = world.all("SELECT id AS course_id, title FROM courses WHERE teacher = ? ORDER BY id", teacher)
    if not rows:
        raise LookupError(f"no teacher named {teacher}")
    return rows


@courses.tool(
    draw=lambda d: d.row(_STUDENTS),
    wordings=(
        "List the courses that the student {student} attends.",
        "Which courses does the student {student} attend?",
        "Please list all courses of the student {student}.",
        "The student {student} needs a list of their courses.",
        "Our student {student} has lost track. List the courses and results.",
        "Could you list every course student {student} attends?",
        "What results does the student {student} have in their courses?",
    ),
    held_out=(
        "Please list the student's courses and results: {student}.",
        "I need a list of the courses student {student} attends.",
    ),
    answer=lambda a, r: f"{a['student']} takes {each(r, '{course_id} {title} (grade {grade})')}.",
)
def list_courses_by_student(world: World, student: Student) -> list[Row]:
    """List of the courses that one student attends, with the results so far."""
    sql = "SELECT course AS course_id, title, grade FROM enrolments JOIN courses ON courses.id = course"
    rows = world.all(f"{sql} WHERE student = ? ORDER BY course", student)
    if not rows:
        raise LookupError(f"no student named {student}")
    return rows


@courses.tool(
    draw=lambda d: {**_id(d), "student": f"{d.row(_STUDENTS)['student']}"},
    wordings=(
        "Enrol {student} in {course_id}.",
        "Please enrol the student {student} in course {course_id}.",
        "{student} wants to be enrolled in {course_id}.",
        "Can you enrol {student} for the course {course_id}?",
        "{course_id} gets a new student, {student}; enrol them.",
        "I'd like to enrol {student} in course {course_id}.",
        "Sign {student} up for {course_id}.",
    ),
    held_out=(
        "Could you enrol {student} for {course_id}?",
        "New student for {course_id}: please enrol {student}.",
    ),
    answer=lambda a, r: f"{a['student']} now takes {a['course_id']}; {r['places_left']} places are left.",
)
def enrol_student(world: World, course_id: CourseId, student: Student) -> Row:
    """Enrol a new student in a course: sign them up for a place."""
    places = _course(world, course_id)["places"]
    sql = "SELECT student FROM enrolments WHERE course = ?"
    world.run("INSERT INTO enrolments VALUES (?, ?, NULL)", course_id, student)
    return {"places_left": places - len(world.all(sql, course_id))}


@courses.tool(
    draw=lambda d: {**d.row(_PLACES), "grade": d.pick(GRADES)},
    wordings=(
        "Enter the grade {grade} for {student} in {course_id}.",
        "Grade {student} in {course_id} with {grade}.",
        "The final grade of {student} in {course_id} is {grade}.",
        "Please grade the student {student}: {grade} in {course_id}.",
        "In {course_id}, {student} earned the grade {grade}.",
        "{student} is to be graded {grade} in {course_id}.",
        "Final mark for {student} in {course_id}: {grade}.",
    ),
    held_out=(
        "{student} earned the grade {grade} in {course_id}.",
        "Course {course_id}: the student {student} gets the grade {grade}.",
    ),
    answer=lambda a, r: f"{a['student']} has a {a['grade']} in {a['course_id']}.",
)
def grade_student(world: World, course_id: CourseId, student: Student, grade: Grade) -> Row:
    """Enter the final grade (mark) that a student earned in a course."""
    _course(world, course_id)
    sql = "UPDATE enrolments SET grade = ? WHERE course = ? AND student = ?"
    if world.run(sql, grade, course_id, student) == 0:
        raise LookupError(f"{student} is not in {course_id}")
    return {"course_id": course_id, "student": student, "grade": grade}


courses.chain(
    ("find_course", lambda s, r: {"title": s["title"]}),
    ("get_course_schedule", lambda s, r: {"course_id": r[0]["course_id"]}),
    draw=lambda d: {"title": d.pick(TITLES)},
    wordings=(
        'Find the course titled "{title}" first, then tell me its schedule.',
        'I only know the title "{title}". Find the course and its schedule.',
        'Find "{title}" among our courses: what is the schedule?',
    ),
    held_out=('Please find the course "{title}", then the room in its schedule.',),
)
courses.chain(
    ("find_course", lambda s, r: {"title": s["title"]}),
    ("get_course_students", lambda s, r: {"course_id": r[0]["course_id"]}),
    draw=lambda d: {"title": d.pick(TITLES)},
    wordings=(
        'Find the course titled "{title}" first, then name its students.',
        'Which students take "{title}"? I only know the title; find the course.',
        'Find "{title}" among the courses and show me the students.',
    ),
    held_out=('First find the course "{title}": who are its students?',),
)
courses.chain(
    ("find_course", lambda s, r: {"title": s["title"]}),
    ("enrol_student", lambda s, r: {"course_id": r[0]["course_id"], "student": s["student"]}),
    draw=lambda d: {"title": d.pick(TITLES), **d.row(_STUDENTS)},
    wordings=(
        'Find the course titled "{title}" first, then enrol {student}.',
        'Please enrol {student}. I only know the title; find the course "{title}".',
        'Find "{title}" among the courses and enrol {student} as a student.',
    ),
    held_out=('First find the course "{title}", then enrol the student {student}.',),
)
courses.small_talk = (
    ("How can I learn new words faster?", "Repeat them in small portions, at growing intervals."),
    (
        "What's the difference between a teacher and a tutor?",
        "A teacher leads a class; a tutor mostly helps one person.",
    ),
    ("How many squares are on a chessboard?", "Sixty-four small ones."),
    ("What clay is best for beginners?", "Smooth stoneware clay is forgiving and easy to shape."),
)
courses.unsupported_requests = (
    "Write {person}'s homework for next week.",
    "Print {number} certificates and hang them in the hall.",
    "Ask the city of {city} for more money for our school.",
    "Cook dinner for the teachers on {day}.",
)
