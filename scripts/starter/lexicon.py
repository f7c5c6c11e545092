"""Word lists of the small invented world that the starter base model speaks about.

Everything here is made up for this project. The lists are ordered tuples, never sets, because the
generators draw from them with a seeded generator and must give the same bytes on every machine.
"""

from __future__ import annotations

TOWNS = (
    "Torvel", "Lowen", "Askby", "Pellin", "Dunmere", "Kestow", "Orlen", "Halvik", "Brisk Hill", "Tamsey",
    "Ulmar", "Wendle", "Corrin", "Fennick", "Galdo", "Inverley", "Jorvan", "Lissen", "Mossgate", "Nerrow",
)  # fmt: skip

BODIES = (
    "Library", "Swimming Bath", "Market Office", "Bakery Guild", "Forest Office", "Museum", "School Board",
    "Bridge Office", "Garden Club", "Theatre", "Tram Office", "Post Office", "Hospital", "Music School",
    "Weavers Guild", "Fire Station", "Beekeepers Club", "Sports Hall", "Town Archive", "Mountain Rescue",
)  # fmt: skip

MODIFIERS = (
    "swan", "reading", "visitor", "summer", "winter", "garden", "violin", "piano", "honey", "bread", "oven",
    "tram", "bridge", "forest", "mushroom", "firewood", "painting", "statue", "evening", "morning", "family",
    "student", "teacher", "bicycle", "horse", "wagon", "candle", "chimney", "parcel", "letter", "stamp",
    "choir", "stage", "costume", "loom", "wool", "silk", "rope", "climbing", "ski", "sledge", "football",
    "chess", "diving", "rowing", "tower", "cellar", "roof", "flower", "apple", "pear", "cherry", "cheese",
    "milk", "goat", "sheep", "pigeon", "owl", "camera", "map", "coin", "clock", "bell", "fire", "smoke",
    "kitchen", "music", "drum", "dance", "puppet", "kite", "school", "lunch", "spice", "tea", "salt glass",
    "old book", "night train", "stone cutter", "wild berry", "hay barn", "snow road", "day tour", "first aid",
    "bee house", "rose bed", "long table", "corner shop", "toy repair", "rain coat",
)  # fmt: skip

KINDS = (
    "permit", "licence", "pass", "ticket", "card", "certificate", "badge", "loan", "course", "stamp", "token",
    "voucher",
)  # fmt: skip

FIRST_NAMES = (
    "Mira", "Tom", "Anna", "Olek", "Lena", "Ivo", "Nora", "Piet", "Sara", "Jonas", "Ella", "Marek", "Ruth",
    "Felix", "Greta", "Hugo", "Irma", "Karl", "Vera", "Samuel", "Tilda", "Emil", "Rosa", "Bruno", "Clara",
    "Oscar", "Dora", "Leo",
)  # fmt: skip

GIRLS = ("Mira", "Anna", "Lena", "Nora", "Sara", "Ella", "Ruth", "Greta", "Irma", "Vera", "Tilda", "Rosa",
         "Clara", "Dora")  # fmt: skip

SURNAMES = (
    "Holt", "Vance", "Brandt", "Keller", "Moss", "Tarn", "Quill", "Ash", "Lind", "Ferrow", "Stone", "Berg",
    "Fisher", "Miller", "Wood", "Hart", "Cole", "Marsh", "Field", "Crane", "Dale", "Frost", "Gray", "Hill",
)  # fmt: skip

PLACE_FIRST = (
    "Salt", "Lantern", "Copper", "Willow", "Green", "White", "Iron", "Old", "North", "South", "Amber", "Silver",
    "Raven", "Linden", "Corn", "Glass", "Oak", "Blue", "Round", "Stone",
)  # fmt: skip

PLACE_SECOND = ("Tower", "House", "Hall", "Gate", "Court", "Yard", "Lodge", "Mill")

DOCUMENTS_FIRST = (
    "birth",
    "health",
    "house",
    "travel",
    "school",
    "work",
    "bank",
    "family",
    "land",
    "tax",
    "water",
    "age",
)
DOCUMENTS_SECOND = ("paper", "letter", "record", "card", "note", "book")

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip

COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "orange", "purple")

OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("old", "new"), ("high", "low"), ("long", "short"),
    ("wet", "dry"), ("open", "closed"), ("full", "empty"), ("happy", "sad"), ("early", "late"),
    ("light", "dark"), ("rich", "poor"), ("hard", "soft"), ("loud", "quiet"), ("strong", "weak"),
    ("clean", "dirty"), ("heavy", "easy to lift"), ("near", "far"), ("wide", "narrow"), ("deep", "shallow"),
    ("sweet", "sour"), ("day", "night"), ("up", "down"), ("left", "right"), ("first", "last"),
    ("begin", "end"), ("buy", "sell"), ("win", "lose"), ("give", "take"), ("summer", "winter"),
    ("thick", "thin"), ("smooth", "rough"), ("true", "false"), ("brave", "afraid"), ("inside", "outside"),
)  # fmt: skip

CATEGORIES = (
    ("animal", ("horse", "goat", "sheep", "owl", "pigeon", "eel", "swan", "fox", "cat", "dog", "heron", "otter")),
    ("fruit", ("apple", "pear", "cherry", "plum", "grape", "lemon", "peach")),
    ("tool", ("hammer", "saw", "needle", "spade", "axe", "knife", "rake")),
    ("colour", ("red", "blue", "green", "yellow", "white", "black", "brown")),
    ("vehicle", ("tram", "wagon", "bicycle", "ferry", "barge", "train", "sledge")),
    ("instrument", ("violin", "piano", "drum", "flute", "horn", "harp")),
    ("tree", ("oak", "willow", "linden", "birch", "pine", "elm")),
    ("drink", ("tea", "milk", "coffee", "juice", "cocoa")),
)  # fmt: skip

THINGS = (
    "lamp", "coat", "hat", "boat", "kite", "basket", "bell", "book", "cup", "drum", "ring", "rope", "box",
    "blanket", "chair", "clock", "key", "map", "bag", "ball", "bottle", "scarf", "lantern", "net", "spoon",
    "coin", "letter", "ladder", "wheel", "candle",
)  # fmt: skip

SPOTS = (
    "market", "river", "forest", "bridge", "school", "garden", "tower", "bakery", "harbour", "mill", "station",
    "park", "library", "lake", "hill", "quay", "ferry", "barn", "square", "church",
)  # fmt: skip

HIDING = (
    "under the bench", "behind the door", "in the tall grass", "on the roof", "beside the well", "in the boat",
    "under the stairs", "near the gate", "behind the wall", "in the old barn", "on the table", "under the bed",
)  # fmt: skip

WEATHER = ("sunny", "rainy", "windy", "cold", "foggy", "warm", "snowy", "stormy")

# Words of the waterside. The base meets them in stories only, so that a text about a harbour is not
# made of unknown pieces; it never meets them as the name of a permit.
WATERSIDE = (
    "barge", "quay", "mooring", "eel", "tide", "lock", "weir", "dredging", "pilot", "anchor", "ferry", "well",
    "sluice", "buoy", "jetty", "canal", "float", "dock", "rudder", "harbour", "reed", "ice", "swim", "crane",
)  # fmt: skip
