"""The same machine seen from inside: agent, serial shell, SSH, kernel log; `Guest` ties them."""
