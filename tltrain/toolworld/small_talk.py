"""Text around the requests: polite phrases, questions that need no tool, and refusals."""

from __future__ import annotations

OPENINGS = (
    *("Hi! ", "Hello. ", "Good morning. ", "Quick question: ", "Hey there. ", "One thing: ", "Sorry to bother you. "),
    *("I'm in a hurry. ", "Could you help me? ", "Let's see. ", "Next one. ", "I have a request. "),
)
CLOSINGS = (
    *(" Thanks!", " Thank you.", " It's fairly urgent.", " No rush.", " Cheers.", " Much appreciated."),
    *(" Just the facts, please.", " That would help me a lot."),
)
PAIRS = (
    "{0} Also: {1}",
    "{0} And another thing: {1}",
    "Two things. First: {0} Second: {1}",
    "{0}\n{1}",
    "(1) {0} (2) {1}",
    "{0} While you're at it: {1}",
)
TRIPLES = (
    "Three things. (1) {0} (2) {1} (3) {2}",
    "{0}\n{1}\n{2}",
    "{0} Also: {1} And finally: {2}",
)
REFUSALS = (
    "Sorry, I can't do that here. I can help with {topics}.",
    "Sorry, none of my tools can do that; they cover {topics}.",
    "Sorry, that is beyond what I can do. My tools are for {topics}.",
    "Sorry, I have no tool for that. What I can do is help with {topics}.",
)
GENERAL = (
    ("Thanks, that was all for today.", "You're welcome. Have a nice day!"),
    ("Who was the first person to walk on the Moon?", "Neil Armstrong, in July 1969."),
    ("Tell me a short joke.", "Why did the tomato blush? It saw the salad dressing."),
    ("What is the capital of Canada?", "Ottawa."),
    ("Good evening, how are you?", "Very well, thank you. How can I help?"),
    ("How many legs does a spider have?", "Eight."),
    ("Who painted the Mona Lisa?", "Leonardo da Vinci."),
    ("What is the opposite of 'brave'?", "'Cowardly', or 'timid'."),
    ("Do you like music?", "I can't hear it, but I know that people love it."),
    ("What is the largest ocean on Earth?", "The Pacific Ocean."),
    ("Explain in one sentence what gravity is.", "Gravity is the force with which masses attract each other."),
    ("Are you a human being?", "No, I'm a computer program that uses tools."),
    ("I'm a bit tired today.", "I'm sorry to hear that. A short break may do you good."),
    ("Which planet is closest to the Sun?", "Mercury."),
    ("What do bees make?", "Honey and wax."),
    ("Which language is spoken in Brazil?", "Portuguese."),
    ("Wish me luck for my exam!", "Good luck! You will do well."),
    ("Who wrote Romeo and Juliet?", "William Shakespeare."),
    ("Why do leaves turn yellow in autumn?", "The green chlorophyll breaks down and other colours show."),
    ("What is H2O better known as?", "Water."),
    ("You have been very helpful.", "Thank you, I'm glad to hear it."),
    ("Is a tomato a fruit or a vegetable?", "Botanically a fruit, in the kitchen a vegetable."),
    ("How many continents are there?", "Seven, as most people count them."),
    ("What is the fastest land animal?", "The cheetah."),
    ("Can you say 'good night' in French?", "Bonne nuit."),
    ("What colour do you get from blue and yellow?", "Green."),
    ("Never mind, I found it myself.", "Good. Just ask if you need anything else."),
    ("In which country are the pyramids of Giza?", "In Egypt."),
    ("What instrument has 88 keys?", "The piano."),
    ("Who discovered penicillin?", "Alexander Fleming, in 1928."),
    ("Do fish sleep?", "Yes, most of them rest, though without closing their eyes."),
    ("Which is heavier, gold or silver?", "Gold, for the same volume."),
    ("What is a synonym for 'happy'?", "'Glad', for example."),
    ("How do you spell the word for a person who bakes bread?", "B-a-k-e-r."),
    ("What is photosynthesis?", "Plants turning light, water and carbon dioxide into sugar and oxygen."),
    ("My cat ran away this morning.", "Oh no. I hope it comes back soon."),
    ("Which sport is played at Wimbledon?", "Tennis."),
    ("How many strings does a violin have?", "Four."),
    ("Please introduce yourself in one sentence.", "I'm an assistant that answers questions and uses a few tools."),
    ("What do pandas eat?", "Almost only bamboo."),
    ("What is the square root of 81?", "Nine."),
    ("Is Pluto a planet?", "Not since 2006; it is called a dwarf planet."),
    ("Give me a word that rhymes with 'house'.", "'Mouse'."),
    ("Which gas do we need to breathe?", "Oxygen."),
    ("What's your favourite colour?", "I have none, but many people say blue."),
    ("Who composed the Moonlight Sonata?", "Ludwig van Beethoven."),
    ("How many players are on a football team?", "Eleven on the field."),
    ("What is the longest river in South America?", "The Amazon."),
)
"""Questions that need no tool, with their answers."""
