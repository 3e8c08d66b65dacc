"""Names and ids that are made up: brave-otter, k3f9x2ab, and a writer's uuid7."""

import os
import time

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

MOODS = """
able agile airy alert amber ample apt arctic astute autumn azure balmy bold brave breezy
brief bright brisk bronze calm candid cheery civil clear clever coastal copper coral
cosmic cozy crisp curious daring deft dewy early earnest easy elegant ember fabled fair
fearless fleet floral fluent fond frank fresh gentle gilded glad golden graceful grand
hardy hazel honest humble ideal ivory jolly jovial keen kind lively lucid lucky lunar lush
mellow merry mild mighty misty modest nimble noble novel olive patient placid playful
plucky polar proud quick quiet radiant rapid regal rosy rustic sage serene sharp shiny
silent silver sleek smooth snowy solar spry steady stellar subtle sunny swift tender tidy
tranquil upbeat valiant velvet vivid warm wild winged wise witty zesty
"""
BEINGS = """
albatross alder antelope aspen badger beaver birch bison bobcat bream buffalo bunting
caribou cedar cheetah chickadee cicada condor cormorant coyote crane cricket curlew
cypress dingo dolphin dove dragonfly eagle egret elk elm falcon fern ferret finch firefly
fox gannet gazelle gecko gibbon grouse gull hare hawk heron hornbill ibex ibis iguana
jackdaw jaguar jay juniper kestrel kingfisher kite koala lapwing lark lemur leopard linnet
lizard llama lotus lynx magpie mallard manatee maple marlin marmot marten meerkat merlin
mink moose moth narwhal newt nightjar oak ocelot orca oriole osprey otter owl panda
panther partridge pelican penguin petrel pika pine plover poplar porpoise puffin quail
rabbit raven redwood robin rowan salmon sandpiper seal shrew skylark snipe sparrow spruce
starling stoat stork sturgeon swallow swan swift tapir teal tern thrush tiger toucan trout
turtle vole walrus warbler weasel whale willow wombat woodpecker wren yak zebra
"""


def run_name() -> str:
    """Make up a name that people can say, such as `brave-otter`."""
    number = int.from_bytes(os.urandom(8), "big")
    moods, beings = MOODS.split(), BEINGS.split()
    number, mood = divmod(number, len(moods))
    return f"{moods[mood]}-{beings[number % len(beings)]}"


def run_id() -> str:
    """Make a run id: 8 lower-case base32 characters."""
    return "".join(_ALPHABET[byte & 31] for byte in os.urandom(8))


def writer_id() -> str:
    """Make a writer's id: a uuid7, which sorts by the time at which it was made."""
    millis = time.time_ns() // 1_000_000
    number = int.from_bytes(os.urandom(10), "big")
    number = (millis & (1 << 48) - 1) << 80 | number
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
