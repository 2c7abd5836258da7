"""The commands, a module each: `command(arguments)` does the work and gives the exit code.

A new command is a module here and a line in COMMANDS.
"""

__all__ = ["COMMANDS"]

COMMANDS = {
    "eval": "answer a question: a data set, a backbone, prompts; -m sweeps over lists",
    "status": "what of a sweep is done, running, failed or missing; arguments as for eval, none for the last one",
    "plan": "what eval would reuse and compute, without running anything",
    "effects": "what each prompt adds, and accuracy against the number of prompts; arguments as for eval",
    "report": "tables, figures and a page from the records below results_dir",
    "prompts": "[FILE ...] [--strict]: counts, repeats and faults of prompts, without a model; class=NAME lists one",
    "reproduce": "RECORD ...: asks recorded questions again and compares the answers image by image",
    "export": "[RUN_KEY ...] to=FILE.zip: finished runs as one file",
    "import": "FILE.zip ...: runs of another machine, checked, beside one's own",
    "describe": "llm=NAME: ask a language model for image-prompts of the classes; describe.plan=true only counts",
    "classify": "IMAGE ... 'class_names=[tree frog,tailed frog]': the likeliest class of each image",
}
"""Every command with its line of help."""
