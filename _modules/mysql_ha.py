"""
The formula as a whole, seen from one minion.
"""

import mysql_ha_pillar

__virtualname__ = "mysql_ha"


def __virtual__():
    return __virtualname__


def pillar_errors():
    """
    What is wrong with this minion's ``mysql_ha`` pillar: a list of sentences, empty when it can work. Each
    names the key, its value (secrets hidden) and what is allowed. A minion that has no such pillar has
    nothing to be wrong.

    CLI Example:

    .. code-block:: bash

        salt '*' mysql_ha.pillar_errors
    """
    # pillar.get is masked outside Jinja since Salt 3008, down to plain numbers.
    if "mysql_ha" not in __pillar__:
        return []
    return mysql_ha_pillar.errors(__pillar__["mysql_ha"], __grains__["id"])
