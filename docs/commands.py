"""Write `docs/commands.md`, the manual page and the table of completion from the commands. A test compares them.

python docs/commands.py
"""

from pathlib import Path

from pipeline.interfaces.described import outputs

for path, text in outputs(Path(__file__).parents[1]).items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(path)
