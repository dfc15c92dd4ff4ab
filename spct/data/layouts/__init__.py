"""How foreign rows are read: one small reader per layout, found by the columns of the row."""
