import re

from configs.load import PROJECT_ROOT, load_run

README = (PROJECT_ROOT / "README.md").read_text()


def test_every_file_the_readme_names_is_there():
    named = re.findall(r"\b(?:[a-z_]+/)+[A-Za-z_0-9-]+\.(?:py|yaml|ipynb)\b", README)
    here = [
        name for name in named if not name.startswith(("runs/", "strategies/my_idea", "configs/runs/my_idea"))
    ]
    assert len(here) >= 8
    assert [name for name in here if not (PROJECT_ROOT / name).exists()] == []


def test_every_override_the_readme_shows_is_accepted():
    shown = re.findall(r"--set ([a-z_.0-9]+=[^\s`]+)", README)
    assert len(shown) >= 3
    load_run(None, shown)


def test_every_run_file_loads():
    files = sorted((PROJECT_ROOT / "configs/runs").glob("*.yaml"))
    assert {load_run(file).name for file in files} == {file.stem for file in files}
