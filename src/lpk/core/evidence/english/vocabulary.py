"""What words of scientific English mean to a claim: data that ``wording.py`` and ``fidelity.py`` read.

Words are listed in one form, ``wording.stem`` brings the others to it; a | separates words and phrases. English only.
"""

from __future__ import annotations


def word_set(words: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(words.split())


_UP_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS = {word: float(value) for value, word in enumerate(_UP_TO_TWENTY.split())} | {
    "thirty": 30.0,
    "forty": 40.0,
    "fifty": 50.0,
    "hundred": 100.0,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
}
FRACTIONS = {
    "half": 1 / 2,
    "third": 1 / 3,
    "thirds": 1 / 3,
    "quarter": 1 / 4,
    "quarters": 1 / 4,
    "fifth": 1 / 5,
    "fifths": 1 / 5,
    "tenth": 1 / 10,
    "tenths": 1 / 10,
}
MULTIPLES = {"twice": 2.0, "twofold": 2.0, "double": 2.0, "threefold": 3.0, "triple": 3.0, "tenfold": 10.0}

#: unit -> how it is written after a number.
UNITS = {
    "%": "%|percent|per cent|pct",
    "points": "percentage points|percentage point|points|point|pp|ppt",
    "x": "x|\u00d7|times|fold|time as",
    "ms": "ms|millisecond|milliseconds",
    "s": "s|sec|second|seconds",
    "min": "min|minute|minutes",
    "h": "h|hour|hours",
    "days": "day|days",
    "KB": "KB|KiB|kilobyte|kilobytes",
    "MB": "MB|MiB|megabyte|megabytes",
    "GB": "GB|GiB|gigabyte|gigabytes",
    "TB": "TB|TiB|terabyte|terabytes",
    "tokens": "token|tokens",
    "layers": "layer|layers|block|blocks|transformer block|transformer blocks|transformer layer|transformer layers",
    "parameters": "parameter|parameters|params|weights",
    "steps": "step|steps|iteration|iterations",
    "samples": "sample|samples|example|examples|sequence|sequences|calibration sample|calibration samples",
    "seeds": "seed|seeds|random seed|random seeds|run|runs|repetition|repetitions",
    "bits": "bit|bits",
    "FLOPs": "FLOP|FLOPs|GFLOPs|TFLOPs",
    "nats": "nat|nats",
    "GPU hours": "GPU hour|GPU hours|GPU-hour|GPU-hours",
    "GPUs": "GPU|GPUs|accelerator|accelerators|A100|A100s|H100|H100s|H200|V100|V100s",
    "heads": "head|heads",
    "tasks": "task|tasks|benchmark|benchmarks",
    "prompts": "prompt|prompts",
}

#: axis -> words of one side and of the other. "More" of one axis never contradicts "worse" of another. Words that only
#: a prefix makes opposite (unstable, inconsistent) are read as their negation and not listed.
DIRECTIONS = {
    "amount": (
        "double|triple|quadruple|increase|upper|rise|rose|risen|raise|grow|grew|growth|growing|more|higher|highest|high|greater|greatest|larger"
        "|largest|above|exceed|upward|enlarge|maximal|maximum|longer|longest|prohibitive|substantial|expensive|costly",
        "halve|decrease|fall|fell|fallen|reduce|reduction|drop|lower|lowest|low|less|fewer|fewest|smaller|smallest|below"
        "|shrink|shrank|decline|downward|least|diminish|minimal|minimum|shorter|shortest|negligible|cheap|cheaper",
    ),
    "quality": (
        "improve|improvement|outperform|better|best|superior|enhance|enhancement|gain|benefit|beneficial|help|boost"
        "|surpass|beat|recover|recovery|restore|win|mitigate|alleviate|favourable|favorable",
        "degrade|degradation|underperform|worse|worst|worsen|inferior|harm|harmful|hurt|impair|damage|deteriorate"
        "|deterioration|loss|lose|lost|aggravate|hinder|collapse|unfavourable|unfavorable",
    ),
    "speed": (
        "faster|fastest|fast|speedup|speed-up|accelerate|acceleration|quicker|quickest",
        "slower|slowest|slow|slowdown|slow-down|decelerate|deceleration",
    ),
    "sameness": (
        "identical|same|similar|alike|agree|align|coincide|consistent|converge",
        "different|differ|disagree|misalign|diverge|distinct",
    ),
    "importance": (
        "critical|essential|important|crucial|necessary|indispensable|vital",
        "redundant|dispensable|superfluous|needless",
    ),
    "depth": ("deep|deeper|deepest|late|later|final|last", "shallow|shallower|shallowest|early|earlier|initial|first"),
    "change": ("stable|robust|preserve|maintain|retain", "brittle|fragile"),
    "strength": ("strong|stronger|strongest|positive|good|well", "weak|weaker|weakest|negative|poor|poorly|bad|badly"),
    "presence": ("add|insert|include|keep", "remove|delete|exclude|skip"),
}

#: What denies the next word that says something.
NEGATIONS = (
    "not|no|none|neither|nor|never|without|n't|unlikely|barely|scarcely|hardly|no longer"
    "|fail to|failure to|unable to|lack|lack of|absence of"
    "|far from|anything but|by no means|nowhere near|do little to|does little to|did little to"
)
#: After "not", it denies nothing.
NOT_ONLY = word_set("only merely just simply")
#: Words that "not" and "no" reach through: "not lead to a significant gain" denies the gain.
LIGHT = (
    "have|need|require|use|involve|show|lead|result|give|provide|cause|yield|observe|find|see|make|remain|exist|case"
    "|true|report|imply|mean|conclude|claim|argue"
)
#: Adjectives that it reaches through, and denies too.
MODIFIERS = (
    "clear|significant|substantial|measurable|noticeable|additional|further|major|considerable|meaningful"
    "|single|obvious"
)
#: What "no" and "none of the" reach through where a sentence begins: "no method recovers" denies that it recovers.
AGENTS = "method|model|approach|algorithm|technique|baseline|work|study|criterion|layer|block|task|benchmark|dataset"
#: Where un-, in-, non- ... is clearly a negation: the word without it. Others ("important") keep their prefix.
NEGATIVE_PREFIXES = ("un", "non-", "non", "in", "im", "ir", "dis")
PREFIXED = (
    "affected|aligned|changed|clear|consistent|correlated|dependent|effective|efficient|explored|known"
    "|necessary|noticed|pruned|redundant|related|relevant|reliable|seen|significant|similar|stable|sufficient"
    "|supported|trained|trivial|uniform|used|possible|important|able|tested|adequate|studied|additive|monotonic"
)

#: level -> words; how much of all, or how often. A claim may not say more than its quote.
QUANTIFIERS = {
    0: "no|none|never",
    1: "few|rarely|seldom|hardly|scarcely|barely|almost never|hardly ever",
    2: "some|sometimes|occasionally|certain|partly|partially|in part|a subset of|in some cases|in certain cases",
    3: "several|many|often|frequently|in many cases|a number of|multiple|various|numerous|in several settings",
    4: "most|mostly|largely|usually|typically|generally|mainly|primarily|the majority of|a majority of|nearly|almost",
    6: (
        "all|every|always|each|entirely|completely|fully|strictly|universally|invariably|consistently|everywhere"
        "|uniformly|whole|totally|exclusively|in all cases|without exception"
    ),
}
#: Of these, those that hedge a sentence: how often it holds.
FREQUENCIES = word_set(
    "seldom often sometimes occasionally frequently usually typically generally mostly largely mainly partly rarely"
)
#: Universal enough that a claim may not add them to a quote that has no quantifier.
UNIVERSAL = "all|every|always|never|entirely|completely|strictly|universally|invariably|everywhere|in all cases"

#: What makes a figure less than an exact one, where it stands before it.
BOUNDS = {
    "up to": "up to|until|till|as much as|as many as|as high as|maximum of|a maximum of",
    "at most": (
        "at most|no more than|not more than|never more than|less than|fewer than|below|under|at best|within|at worst"
        "|no greater than|no larger than|no higher than|never over|never above|not exceed|n't exceed|never exceed"
        "|bounded by|limited to"
    ),
    "at least": (
        "at least|more than|over|above|no less than|no fewer than|never below|never under|never less than"
        "|a minimum of|exceed"
    ),
    "beyond": "beyond|past",
    "about": "about|approximately|around|roughly|nearly|almost|~|≈|circa|close to|on the order of|an estimated|some",
}

#: What part a figure plays in a change, by the words before it: where it starts and ends, by how much.
COURSES = {
    "from": "from|start at|start from|begin at|starting from",
    "to": "to|reach|attain|end at|end up at|arrive at|settle at|→",
    "by": "by",
}

#: Words that take a statement back: it may be so, or only looks so. A claim may not drop them.
HEDGES = (
    "may|might|could|unclear|unlikely|remains to be seen|suggest|appear|appear to|seem|seem to|seemingly"
    "|likely|possibly"
    "|perhaps|probably|potentially|presumably|arguably"
    "|tend|tend to|tendency|tendency to|hint at|hint|hypothesise|hypothesize|conjecture|speculate"
    "|believe|plausible|plausibly|apparently|preliminary|to some extent|it is possible|it could be"
    "|can not exclude|can not be excluded|can not rule out|can not be ruled out"
)
#: These hedge a claim too, but a claim without them says the same to most readers.
MILD_HEDGES = (
    "can|indicate|indication|estimate|possible|possibility|potential|would|should|expect|allow|enable|let|future work"
    "|evidence"
)
#: These say that something is beyond doubt. A claim may not add them.
BOOSTERS = (
    "prove|proof|proven|provably|guarantee|undoubtedly|certainly|definitely|unquestionably|conclusively|establish"
)

#: Words that say what brings something about. A claim may not say it of what its quote only saw together.
CAUSES = (
    "cause|lead to|result in|result from|due to|owing to|because|because of|thanks to|drive|determine|induce|trigger"
    "|produce|make|bring about|give rise to|stem from|arise from|responsible for|contribute to|influence|affect"
)
CORRELATES = (
    "correlate|correlation|associate with|association|link to|linked to|relate to|related to|relationship|predict"
    "|predictor|predictive|co-occur|coincide|go together|go along with|go hand in hand|accompany|track"
)

#: Words of one kind that take one another's place in a sentence, by what they stand for: "the dense one", "the pruned one".
RIVALS = {
    "measure": ("accuracy|accuracies", "perplexity|perplexities|ppl", "latency", "throughput", "memory"),
    "state": (
        "dense|original|unpruned|uncompressed",
        "pruned|compressed|shortened",
        "healed|retrained|fine-tuned|finetuned",
    ),
    "depth": ("deep|deeper|late|later|last|final", "shallow|shallower|early|earlier|first", "middle|intermediate"),
}

#: Capitals that name no model, data set or method.
GENERIC_NAMES = word_set(
    "LLM LLMs LM LMs NLP AI ML GPU GPUs CPU CPUs API APIs DNN DNNs RNN CNN CNNs MLP MLPs FFN QA OK US UK PDF SOTA KV "
    "I A We Our The This These In On For Table Figure Fig Section Appendix Equation Eq Algorithm Theorem Lemma "
    "Transformer Transformers Large Language Model Models Bayesian Gaussian English January February March April May "
    "June July August September October November December RAM CoT SFT IEEE ACM PhD KB MB GB TB KiB MiB "
    "GiB FLOP FLOPs Wikipedia "
    "Internet"
)
#: Names of models, which have versions: Qwen 2.5.
MODELS = word_set(
    "llama mistral mixtral qwen gemma phi opt pythia falcon bloom gpt smollm deepseek olmo vicuna bert roberta gpt-neo"
)
#: Names of data sets: where a figure was seen.
DATA_SETS = word_set(
    "wikitext wikitext-2 wikitext2 c4 piqa mmlu boolq gsm8k hellaswag winogrande arc arc-easy arc-challenge lambada "
    "openbookqa pile redpajama fineweb alpaca slimpajama math500 aime humaneval mbpp ptb"
)
#: Names that open a sentence, where any word has a capital, or that are written without one.
NAMES = (
    MODELS
    | DATA_SETS
    | word_set(
        "slicegpt shortgpt sleb laco evopress gradmap shortenedllama llm-pruner shapley sparsegpt wanda magnitude taylor "
        "lora qlora peft optuna"
    )
)

FUNCTION_WORDS = word_set(
    "a an any the this that these those it its they their them we our us i he she his her you your one "
    "ones of in on at by "
    "for from to into onto with as and or but so if then than when while whereas where which who whom whose what how "
    "is are was were be been being am do does did done has have had having will shall there here also only just even "
    "both such each other another same own very too via per about between among during after before under over through "
    "however thus hence therefore moreover furthermore additionally because since although though yet still once "
    "overall let's us up out off down within across towards toward upon against"
)
