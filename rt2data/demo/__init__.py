"""A small offline robot log and VQA corpus with true answers, made by rendering a scripted table-top expert."""
