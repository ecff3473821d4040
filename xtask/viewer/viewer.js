/* The viewer's place. */
