"""The vocabulary of the demo's stories: plain tables that make_text.py reads. Every word was chosen by hand."""

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

ORDINALS = "first second third fourth fifth sixth".split()

# Names are built from these syllables, so that most of them occur once and have to be copied, not memorised.
ONSETS = "b br d dr f g gr h j k kl l m n p r s st t tr v w z".split()
VOWELS = "a e i o u".split()
MIDDLES = "l n r m d v s t k b nd lm rt st nk".split()
WOMAN_ENDINGS = "a ia ena ela ira".split()
MAN_ENDINGS = "o us an or ek".split()

TOWN_FRONTS = (
    "Ash Birch Cold Deep East Fern Gold Hill Iron Long Mill North Oak Red Stone Thorn West White Winter Wolf"
).split()
TOWN_BACKS = "ford bridge field ham wick brook gate port dale stead".split()

COLOURS = "red blue green yellow white black brown grey purple orange silver golden".split()

CHARACTERS = (
    "kind clever quiet brave lazy cheerful proud shy patient curious honest gentle stubborn careful hungry young old "
    "tall strong busy"
).split()

# trade: (tool, what the work is, where the work is done)
TRADES = {
    "baker": ("oven", "baked bread", "bakery"),
    "smith": ("hammer", "bent iron", "forge"),
    "farmer": ("plough", "turned the soil", "field"),
    "fisher": ("net", "caught herring", "harbour"),
    "tailor": ("needle", "sewed coats", "workshop"),
    "teacher": ("chalk", "explained letters", "school"),
    "doctor": ("bandage", "healed wounds", "hospital"),
    "painter": ("brush", "painted walls", "studio"),
    "miller": ("sack", "ground corn", "mill"),
    "sailor": ("rope", "mended sails", "ship"),
    "gardener": ("spade", "watered roses", "garden"),
    "carpenter": ("saw", "cut planks", "yard"),
    "cook": ("ladle", "stirred soup", "kitchen"),
    "clerk": ("pen", "wrote letters", "office"),
    "hunter": ("bow", "followed tracks", "forest"),
    "singer": ("drum", "sang ballads", "theatre"),
    "potter": ("wheel", "shaped clay", "pottery"),
    "shepherd": ("staff", "counted lambs", "meadow"),
    "printer": ("press", "printed books", "cellar"),
    "barber": ("razor", "trimmed beards", "shop"),
}

# animal: (what it does when it is happy, what it eats)
ANIMALS = {
    "dog": ("barked", "bones"),
    "cat": ("purred", "mice"),
    "horse": ("neighed", "oats"),
    "cow": ("mooed", "grass"),
    "duck": ("quacked", "snails"),
    "owl": ("hooted", "moths"),
    "frog": ("croaked", "flies"),
    "pig": ("grunted", "acorns"),
    "goat": ("bleated", "thistles"),
    "crow": ("cawed", "worms"),
    "goose": ("hissed", "clover"),
    "mouse": ("squeaked", "cheese"),
    "bee": ("buzzed", "nectar"),
    "wolf": ("howled", "meat"),
    "parrot": ("whistled", "seeds"),
    "donkey": ("brayed", "hay"),
}

THINGS = (
    "lamp key cup bell ring coin mirror candle book hat scarf basket knife spoon blanket map clock flute necklace "
    "letter shell feather whip kettle boot glove pillow violin crown ticket"
).split()

CONTAINERS = "drawer chest cupboard barrel bag trunk jar crate wardrobe bucket stove pocket".split()

PLACES = "market river station church library tower bridge inn castle well barn hut tunnel cave island beach".split()

GOODS = (
    "apple pear plum nut egg button nail stamp pebble carrot onion lemon turnip bean bottle brick ribbon marble "
    "pancake cookie tulip pencil arrow"
).split()

FOODS = "soup bread cheese honey cake rice porridge fish cabbage butter jam pie beans pasta salad stew".split()

ERRANDS = (
    "flour salt sugar pepper vinegar soap wool thread paper ink wax oil coal chalk tea coffee milk yeast mustard rope "
    "glue tin glass leather cotton"
).split()

WEATHERS = "sunny rainy windy foggy cold warm stormy snowy".split()

MOODS = "happy sad angry tired proud calm nervous surprised".split()

REASONS = {
    "happy": "sang a song",
    "sad": "began to cry",
    "angry": "slammed the door",
    "tired": "fell asleep",
    "proud": "told everybody",
    "calm": "sat down",
    "nervous": "walked up and down",
    "surprised": "opened both eyes wide",
}

TRAVEL = {
    "walked": "on foot",
    "rode": "on a horse",
    "sailed": "in a boat",
    "drove": "in a cart",
    "skated": "over the ice",
}
