"""How many facts one subject may have: each of them is solved beside all the others."""

#: Live facts of a subject. On the demo model a value that suits eleven facts takes 90 processor
#: seconds; what it takes grows with their number, and so does what one value has to say.
MOST_FACTS = 32
