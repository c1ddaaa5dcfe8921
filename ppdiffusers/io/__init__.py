"""Files and folders: reading and writing weights of both frameworks, finding them, making objects from them."""
