"""A cook book and a shopping list."""

from __future__ import annotations

from random import Random
from typing import Literal

from tltrain.toolworld.service import Draw, Service, Slots, each
from tltrain.toolworld.styles import BARE
from tltrain.toolworld.world import Row, World

DISHES = (
    *("lentil soup", "mushroom risotto", "apple pie", "chicken curry", "tomato salad", "pumpkin stew", "fish tacos"),
    *("potato gratin", "pea soup", "banana bread", "beef goulash", "spinach quiche", "lemon cake", "bean chili"),
    *("onion tart", "carrot muffins", "rice pudding", "leek pie", "egg noodles", "stuffed peppers"),
)
INGREDIENTS = ("flour", "butter", "onions", "garlic", "rice", "cream", "eggs", "tomatoes", "lemons", "honey", "cheese")
STEPS = (
    "Chop everything",
    "Heat the pan",
    "Stir for ten minutes",
    "Add the liquid",
    "Bake until golden",
    "Season well",
)
DIETS = ("vegan", "vegetarian", "gluten-free", "none")
Diet = Literal["vegan", "vegetarian", "gluten-free"]


def _tables(world: World, rng: Random) -> None:
    dishes, parts = [], []
    for dish in DISHES:
        steps = ". ".join(rng.sample(STEPS, 3)) + "."
        dishes.append((dish, rng.choice((20, 35, 50, 75)), rng.choice(DIETS), rng.randint(220, 780), steps))
        parts += [(dish, item, rng.choice((50, 100, 150, 200))) for item in rng.sample(INGREDIENTS, 3)]
    world.create("dishes", "name, minutes, diet, calories, steps", dishes)
    world.create("parts", "dish, ingredient, grams", parts)
    world.create("shopping", "item, quantity", [("milk", 1), ("bread", 2)])


recipes = Service("recipes", "recipes and shopping", BARE, _tables)


def _dish(world: World, dish: str) -> Row:
    row = world.one("SELECT * FROM dishes WHERE name = ?", dish)
    if row is None:
        raise KeyError(dish)
    return row


def _one(d: Draw) -> Slots:
    return {"dish": d.pick(DISHES)}


@recipes.tool(
    draw=lambda d: {"ingredient": d.pick(INGREDIENTS)},
    asks=(
        "What can I cook with {ingredient}?",
        "I have some {ingredient} left. Which dishes need it?",
        "Which dishes are made with {ingredient}?",
        "I'd like to use up my {ingredient}. Any ideas from the cook book?",
        "There's {ingredient} in the kitchen. What could it become?",
        "Show me dishes that contain {ingredient}.",
    ),
    held_out=("What's in the cook book that uses {ingredient}?", "Which meals call for {ingredient}?"),
    answer=lambda a, r: f"With {a['ingredient']}: {', '.join(r) or 'nothing'}.",
)
def find_recipes_by_ingredient(world: World, ingredient: str) -> list[str]:
    """Dishes to cook with an ingredient that you have in the kitchen."""
    if ingredient not in INGREDIENTS:
        raise KeyError(ingredient)
    rows = world.all("SELECT dish FROM parts WHERE ingredient = ? ORDER BY dish", ingredient)
    return [row["dish"] for row in rows]


@recipes.tool(
    draw=lambda d: {"diet": d.pick(("vegan", "vegetarian", "gluten-free"))},
    asks=(
        "My guests eat {diet} food only. What can I serve?",
        "Which dishes are {diet}?",
        "I'm looking for something {diet}.",
        "Show me the {diet} meals in the cook book.",
        "Have you got {diet} dishes?",
        "A friend is on a {diet} diet. What do we have for them?",
    ),
    held_out=("Which meals suit {diet} eaters?", "I need ideas for a {diet} dinner."),
    answer=lambda a, r: f"{a['diet'].capitalize()} dishes: {', '.join(r) or 'none'}.",
)
def find_recipes_by_diet(world: World, diet: Diet) -> list[str]:
    """Dishes and meals that fit a diet, such as vegetarian or vegan."""
    return [row["name"] for row in world.all("SELECT name FROM dishes WHERE diet = ? ORDER BY name", diet)]


@recipes.tool(
    draw=_one,
    asks=(
        "How do I make {dish}?",
        "Tell me step by step how {dish} is prepared.",
        "What do I have to do for {dish}?",
        "I've never made {dish}. How does it go?",
        "Guide me through {dish}, what comes after what?",
        "How is {dish} cooked?",
    ),
    held_out=("Explain how one prepares {dish}.", "What is the procedure for {dish}?"),
    answer=lambda a, r: f"For {a['dish']}: {r}",
)
def get_recipe_steps(world: World, dish: str) -> str:
    """How to make a dish: what to do, step by step."""
    return str(_dish(world, dish)["steps"])


@recipes.tool(
    draw=lambda d: {**_one(d), "portions": d.number(3, 8)},
    asks=(
        "What goes into {dish}?",
        "What do I have to buy for {dish}?",
        "How many grams of what are in {dish}?",
        "Which things do I need to have in the kitchen for {dish}?",
        "Is there butter in {dish}? List what it's made of.",
        "What is {dish} made of?",
        "What do I need for {portions} portions of {dish}?",
        "I'm making {dish} for {portions}. How many grams of what do I take?",
    ),
    held_out=(
        "What do I need at home to make {dish}?",
        "Tell me what {dish} contains, in grams.",
        "We are {portions} and want {dish}. What goes into it?",
    ),
    answer=lambda a, r: f"{a['dish'].capitalize()} takes {each(r, '{grams} g {ingredient}')}.",
)
def get_recipe_ingredients(world: World, dish: str, portions: int = 2) -> list[Row]:
    """What goes into a dish: its ingredients in grams, for some number of portions."""
    _dish(world, dish)
    if portions < 1:
        raise ValueError(f"portions must be at least 1, got {portions}")
    return world.all("SELECT ingredient, grams * ? / 2 AS grams FROM parts WHERE dish = ?", portions, dish)


@recipes.tool(
    draw=_one,
    asks=(
        "How long does {dish} take?",
        "How many minutes do I need for {dish}?",
        "I'm hungry. Is {dish} quick to make, how many minutes?",
        "When do I have to start if I want {dish} at eight? How long does it take?",
        "Can {dish} be ready in half an hour?",
        "How much time should I plan for {dish}?",
    ),
    held_out=("In how many minutes is {dish} done?", "What time does {dish} need in the kitchen?"),
    answer=lambda a, r: f"{a['dish'].capitalize()} takes {r['minutes']} minutes.",
)
def get_recipe_time(world: World, dish: str) -> Row:
    """How long a dish takes to make and be ready, in minutes."""
    return {"minutes": _dish(world, dish)["minutes"]}


@recipes.tool(
    draw=_one,
    asks=(
        "How many calories does {dish} have?",
        "Is {dish} fattening? Give me the calories.",
        "How many kcal are in a plate of {dish}?",
        "I count calories. What about {dish}?",
        "How rich is {dish}, in kcal?",
        "What's the energy content of {dish}?",
    ),
    held_out=("How many kcal does one get from {dish}?", "Calories of {dish}, please."),
    answer=lambda a, r: f"{a['dish'].capitalize()} has {r['kcal']} kcal per portion.",
)
def get_recipe_calories(world: World, dish: str) -> Row:
    """How many calories (kcal) one portion or plate of a dish has."""
    return {"kcal": _dish(world, dish)["calories"]}


@recipes.tool(
    draw=lambda d: {"item": d.pick(INGREDIENTS), "quantity": d.number(2, 9)},
    asks=(
        "We are out of {item}. Put it on the shopping list.",
        "I have to buy {item}, please note that.",
        "Write {item} on the list for the supermarket.",
        "Add {quantity} packs of {item} to what I have to buy.",
        "Please put {quantity} packs of {item} on the list.",
        "Don't let me forget {item} when I go shopping.",
    ),
    held_out=("Note {item} for my next trip to the shop.", "I need to buy {quantity} packs of {item}; write it down."),
    answer=lambda a, r: f"{a['item'].capitalize()} is on the list, which now has {r['entries']} entries.",
)
def add_shopping_item(world: World, item: str, quantity: int = 1) -> Row:
    """Put something to buy on the shopping list, in a number of packs."""
    if quantity < 1:
        raise ValueError(f"quantity must be at least 1, got {quantity}")
    world.run("INSERT INTO shopping VALUES (?, ?)", item, quantity)
    return {"entries": len(world.all("SELECT item FROM shopping"))}


recipes.chain(
    ("find_recipes_by_ingredient", lambda s, r: {"ingredient": s["ingredient"]}),
    ("get_recipe_steps", lambda s, r: {"dish": r[0][0]}),
    draw=lambda d: d.row("SELECT DISTINCT ingredient FROM parts"),
    asks=(
        "Look for dishes with {ingredient} and tell me how to make the first one.",
        "I have {ingredient}. Take the first dish you find with it and explain how it's prepared.",
        "How do I cook the first dish on the list of those with {ingredient}?",
    ),
    held_out=("Choose the first dish that contains {ingredient} and guide me through it.",),
)
recipes.chain(
    ("find_recipes_by_diet", lambda s, r: {"diet": s["diet"]}),
    ("get_recipe_ingredients", lambda s, r: {"dish": r[0][0]}),
    draw=lambda d: d.row("SELECT DISTINCT diet FROM dishes WHERE diet != 'none'"),
    asks=(
        "What do I need for the first {diet} dish you have?",
        "Find {diet} dishes and tell me what goes into the first one.",
        "Guests with a {diet} diet are coming. What is the first dish on that list made of?",
    ),
    held_out=("Take the first of the {diet} meals: what has to be in the kitchen for it?",),
)
recipes.chain(
    ("find_recipes_by_diet", lambda s, r: {"diet": s["diet"]}),
    ("get_recipe_time", lambda s, r: {"dish": r[0][0]}),
    draw=lambda d: d.row("SELECT DISTINCT diet FROM dishes WHERE diet != 'none'"),
    asks=(
        "How many minutes does the first {diet} dish take?",
        "Find {diet} meals. How long does the first one need?",
        "I want to make the first of the {diet} meals. How many minutes should I plan?",
    ),
    held_out=("How much time should I plan for the first on your list of {diet} meals?",),
)
recipes.talk = (
    ("Why do onions make people cry?", "Cutting them frees a gas that irritates the eyes."),
    ("How do I know that pasta is done?", "Taste it: it should be soft but still firm in the middle."),
    ("What does 'al dente' mean?", "Firm to the bite."),
    ("Can one eat raw potatoes?", "Better not: they are hard to digest."),
)
recipes.beyond = (
    "Deliver a hot meal to {person} in {city}.",
    "Wash the dishes in my sink.",
    "Reserve a table for {number} in a restaurant in {city}.",
    "Peel the potatoes while I'm at work on {day}.",
)
