error = TypeError("with notes")
error.add_note("the first note")
error.add_note("the second note")
raise error
