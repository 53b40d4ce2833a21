"""Papers as text: lines and their places, what each line is, words as quotes are looked for in, sections, pages."""
