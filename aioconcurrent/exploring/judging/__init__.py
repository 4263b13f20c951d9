"""What is wrong with an ending: its facts and values, compared with those of the serial orders; and the verdict."""
