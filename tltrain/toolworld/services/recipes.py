"""A cook book and a shopping list."""

from __future__ import annotations

from random import Random
from typing import Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
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
    row = world.first("SELECT * FROM dishes WHERE name = ?", dish)
    if row is None:
        raise KeyError(dish)
    return row


def _dish_slots(d: ValueSampler) -> Slots:
    return {"dish": d.pick(DISHES)}


@recipes.tool(
    draw=lambda d: {"ingredient": d.pick(INGREDIENTS)},
    wordings=(
        "Find recipes that use the ingredient {ingredient}.",
        "Can you find a recipe with {ingredient} as an ingredient?",
        "I'd like to use up my {ingredient}. Find recipes with this ingredient.",
        "The ingredient I have left: {ingredient}. Find a recipe that uses it.",
        "Help me find something to cook with the ingredient {ingredient}.",
        "Which recipes use the ingredient {ingredient}?",
        "What can I cook with {ingredient}?",
    ),
    held_out=(
        "Find me something to cook that has {ingredient} as an ingredient.",
        "I must use up {ingredient}: find a recipe with that ingredient.",
    ),
    answer=lambda a, r: f"With {a['ingredient']}: {', '.join(r) or 'nothing'}.",
)
def find_recipes_by_ingredient(world: World, ingredient: str) -> list[str]:
    """Find recipes that use an ingredient you have left: what to cook with it."""
    if ingredient not in INGREDIENTS:
        raise KeyError(ingredient)
    rows = world.all("SELECT dish FROM parts WHERE ingredient = ? ORDER BY dish", ingredient)
    return [row["dish"] for row in rows]


@recipes.tool(
    draw=lambda d: {"diet": d.pick(("vegan", "vegetarian", "gluten-free"))},
    wordings=(
        "Find recipes for a {diet} diet.",
        "My guests are on a {diet} diet. Find recipes for them.",
        "Which recipes suit a {diet} diet?",
        "A friend keeps a {diet} diet. What can I offer?",
        "I'm looking for recipes that fit a {diet} diet.",
        "Show me what you have for a {diet} diet.",
        "Do you have {diet} meals?",
    ),
    held_out=(
        "I need recipe ideas for people on a {diet} diet.",
        "What food suits someone whose diet is {diet}?",
    ),
    answer=lambda a, r: f"{a['diet'].capitalize()} dishes: {', '.join(r) or 'none'}.",
)
def find_recipes_by_diet(world: World, diet: Diet) -> list[str]:
    """Find recipes of meals that fit a diet: vegan, vegetarian or gluten-free food."""
    return [row["name"] for row in world.all("SELECT name FROM dishes WHERE diet = ? ORDER BY name", diet)]


@recipes.tool(
    draw=_dish_slots,
    wordings=(
        "What are the steps of the recipe for {dish}?",
        "Show me, step by step, how to make {dish}.",
        "I've never made {dish}. Which steps does the recipe have?",
        "List all the steps for preparing {dish}.",
        "Give me the {dish} recipe as steps to follow.",
        "Which step comes first, which last in {dish}?",
        "How do I prepare {dish}?",
    ),
    held_out=(
        "Explain the steps to prepare {dish}.",
        "I need {dish} instructions, step by step.",
    ),
    answer=lambda a, r: f"For {a['dish']}: {r}",
)
def get_recipe_steps(world: World, dish: str) -> str:
    """Steps of a recipe: instructions to prepare and make a dish, step by step."""
    return str(_dish(world, dish)["steps"])


@recipes.tool(
    draw=lambda d: {**_dish_slots(d), "portions": d.number(3, 8)},
    wordings=(
        "Which ingredients does {dish} have?",
        "How many grams of each ingredient go into {dish}?",
        "What ingredients are in the recipe for {dish}?",
        "List the ingredients for {dish} in grams.",
        "What goes into {dish}?",
        "Which ingredients do I need for {portions} portions of {dish}?",
        "Ingredients for {portions} portions of {dish}, please.",
        "I'm making {portions} portions of {dish}. Which ingredients does the recipe take?",
    ),
    held_out=(
        "Tell me the ingredients of {dish}.",
        "Is there butter in {dish}? I need all ingredients.",
        "We want {portions} portions of {dish}. How much of each ingredient?",
    ),
    answer=lambda a, r: f"{a['dish'].capitalize()} takes {each(r, '{grams} g {ingredient}')}.",
)
def get_recipe_ingredients(world: World, dish: str, portions: int = 2) -> list[Row]:
    """Ingredients that go into a dish, with their grams, for some number of portions."""
    _dish(world, dish)
    if portions < 1:
        raise ValueError(f"portions must be at least 1, got {portions}")
    return world.all("SELECT ingredient, grams * ? / 2 AS grams FROM parts WHERE dish = ?", portions, dish)


@recipes.tool(
    draw=_dish_slots,
    wordings=(
        "How much time does {dish} take?",
        "What's the total time for {dish}, in minutes?",
        "How much time does the recipe for {dish} need?",
        "How much time should I plan for {dish}?",
        "Time until {dish} is ready, please.",
        "I have half an hour. Is that enough time for {dish}?",
        "How long does {dish} take?",
    ),
    held_out=(
        "What time does the {dish} recipe take in all?",
        "I'm in a hurry: how much time until {dish} is ready?",
    ),
    answer=lambda a, r: f"{a['dish'].capitalize()} takes {r['minutes']} minutes.",
)
def get_recipe_time(world: World, dish: str) -> Row:
    """Time a recipe takes: how long until the dish is ready, in minutes."""
    return {"minutes": _dish(world, dish)["minutes"]}


@recipes.tool(
    draw=_dish_slots,
    wordings=(
        "How many calories does {dish} have?",
        "Is {dish} fattening? Give me its calories.",
        "How many calories are on a plate of {dish}?",
        "I count calories. How many has {dish}?",
        "What does the recipe for {dish} come to in calories?",
        "Calories per portion of {dish}, please.",
        "How many kcal does {dish} have?",
    ),
    held_out=(
        "How many calories does one get from {dish}?",
        "Tell me the calories in the {dish} recipe.",
    ),
    answer=lambda a, r: f"{a['dish'].capitalize()} has {r['kcal']} kcal per portion.",
)
def get_recipe_calories(world: World, dish: str) -> Row:
    """Calories (kcal) in one portion or plate of a dish: its energy."""
    return {"kcal": _dish(world, dish)["calories"]}


@recipes.tool(
    draw=lambda d: {"item": d.pick(INGREDIENTS), "quantity": d.number(2, 9)},
    wordings=(
        "Add {item} to my shopping list.",
        "Please add the item {item} to the shopping list.",
        "We are out of {item}. Put it on the shopping list.",
        "Add {quantity} packs of {item} to my shopping.",
        "{item}, {quantity} packs: add them to the list.",
        "A new item for my shopping list: {item}.",
        "I have to buy {item} on my next shopping trip.",
    ),
    held_out=(
        "Please put {item} down for shopping.",
        "Could you add {quantity} packs of {item} to the list?",
    ),
    answer=lambda a, r: f"{a['item'].capitalize()} is on the list, which now has {r['entries']} entries.",
)
def add_shopping_item(world: World, item: str, quantity: int = 1) -> Row:
    """Add an item to buy to the shopping list, in a number of packs."""
    if quantity < 1:
        raise ValueError(f"quantity must be at least 1, got {quantity}")
    world.run("INSERT INTO shopping VALUES (?, ?)", item, quantity)
    return {"entries": len(world.all("SELECT item FROM shopping"))}


recipes.chain(
    ("find_recipes_by_ingredient", lambda s, r: {"ingredient": s["ingredient"]}),
    ("get_recipe_steps", lambda s, r: {"dish": r[0][0]}),
    draw=lambda d: d.row("SELECT DISTINCT ingredient FROM parts"),
    wordings=(
        "Find recipes with the ingredient {ingredient} first, then show the steps of the first one.",
        "Which recipes use the ingredient {ingredient}? I want the steps of the first one.",
        "I only have the ingredient {ingredient}. Find recipes and show the first one's steps.",
    ),
    held_out=("Find recipes that use the ingredient {ingredient}; what are the first one's steps?",),
)
recipes.chain(
    ("find_recipes_by_diet", lambda s, r: {"diet": s["diet"]}),
    ("get_recipe_ingredients", lambda s, r: {"dish": r[0][0]}),
    draw=lambda d: d.row("SELECT DISTINCT diet FROM dishes WHERE diet != 'none'"),
    wordings=(
        "Find recipes for a {diet} diet first, then list the first one's ingredients.",
        "Which ingredients, in grams, has the first of the recipes for a {diet} diet?",
        "Guests with a {diet} diet are coming: find recipes, then the ingredients of the first.",
    ),
    held_out=("Take the first recipe that fits a {diet} diet: what are its ingredients?",),
)
recipes.chain(
    ("find_recipes_by_diet", lambda s, r: {"diet": s["diet"]}),
    ("get_recipe_time", lambda s, r: {"dish": r[0][0]}),
    draw=lambda d: d.row("SELECT DISTINCT diet FROM dishes WHERE diet != 'none'"),
    wordings=(
        "Find recipes for a {diet} diet; how much time does the first one take?",
        "How much time does the first of the recipes for a {diet} diet take?",
        "First find recipes that fit a {diet} diet, then tell me the first one's time.",
    ),
    held_out=("What time does the first recipe take that fits a {diet} diet?",),
)
recipes.small_talk = (
    ("Why do onions make people cry?", "Cutting them frees a gas that irritates the eyes."),
    ("How do I know that pasta is done?", "Taste it: it should be soft but still firm in the middle."),
    ("What does 'al dente' mean?", "Firm to the bite."),
    ("Can one eat raw potatoes?", "Better not: they are hard to digest."),
)
recipes.unsupported_requests = (
    "Deliver a hot meal to {person} in {city}.",
    "Wash the dishes in my sink.",
    "Reserve a table for {number} in a restaurant in {city}.",
    "Peel the potatoes while I'm at work on {day}.",
)
