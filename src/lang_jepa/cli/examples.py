"""Commands to copy, shown at the end of each verb's help; a test parses them all."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "try": ("lang-jepa try FOLDER", "lang-jepa try chats.jsonl --beside ENCODER --minutes 10"),
    "quickstart": ("lang-jepa quickstart", "lang-jepa quickstart --seed 1 -o logging.log_dir=runs/second"),
    "train": (
        "lang-jepa train documents -o data.train_file=FOLDER -o logging.log_dir=runs/mine",
        "lang-jepa train runs/mine --resume",
        "lang-jepa train --from runs/mine -o data.train_file=MORE",
    ),
    "recipes": ("lang-jepa recipes", "lang-jepa recipes dialogue", "lang-jepa recipes --json"),
    "prepare": ("lang-jepa prepare documents -o data.train_file=FOLDER --duplicates copies.jsonl",),
    "shards": ("lang-jepa shards FOLDER tokens --vocab-size 4096",),
    "infer": (
        "lang-jepa infer runs/mine --text 'Nora lost her keys.'",
        "lang-jepa infer runs/mine --text 'Nora lost her keys.' --corpus my_index --top-k 3",
        "lang-jepa infer runs/mine --context 'It rained.' --candidate 'We got wet.' --candidate 'Two is even.'",
    ),
    "document": (
        "lang-jepa document runs/mine story.txt --plot story.png",
        "lang-jepa document runs/mine FOLDER --output surprises.csv",
    ),
    "topics": (
        "lang-jepa topics runs/mine FOLDER",
        "lang-jepa topics runs/mine FOLDER --topics 8 --output topics.html",
    ),
    "duplicates": ("lang-jepa duplicates FOLDER", "lang-jepa duplicates texts.jsonl --output copies.csv"),
    "index": ("lang-jepa index runs/mine FOLDER --output my_index",),
    "search": (
        "lang-jepa search my_index 'who sat by the door?' --paragraph",
        "lang-jepa search my_index --after 'The cat sat by the door.' --top-k 3",
    ),
    "rank": (
        "lang-jepa rank runs/dialogue --context chat.json --candidates answers.txt",
        "lang-jepa rank runs/dialogue --context chat.json --bank chats.jsonl --top-k 3",
    ),
    "monitor": (
        "lang-jepa monitor runs/log /var/log/syslog --follow --state place.json",
        "lang-jepa monitor runs/log - --json",
    ),
    "generate": ("lang-jepa generate runs/gpt --prompt 'One day' --samples 3 --seed 1",),
    "evaluate": (
        "lang-jepa evaluate runs/mine",
        "lang-jepa evaluate runs/mine --tasks document,retrieval --everything",
        "lang-jepa evaluate runs/mine --tasks search --documents FOLDER --queries asked.tsv",
    ),
    "compare": (
        "lang-jepa compare concepts mine.yaml --budget steps=2000 --output runs/c",
        "lang-jepa compare gpt_jepa --vary jepa.weight=0,0.01 --budget steps=300 --output runs/g",
    ),
    "sweep": ("lang-jepa sweep documents --output runs/sweep --trials 20 --space model.num_layers=1:4",),
    "bits": ("lang-jepa bits tokens --model runs/gpt",),
    "serve": ("lang-jepa serve runs/mine", "lang-jepa serve runs/mine --index my_index --port 8080"),
    "export": (
        "lang-jepa export runs/mine exported --license apache-2.0",
        "lang-jepa export runs/mine exported --push-to-hub OWNER/MODEL --dry-run",
    ),
}
"""One to three commands for each verb."""
