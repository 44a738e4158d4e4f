"The projects under study; each module registers its own parts."
