"""``python -m bayeslaw.demo``: from our sweep of small networks to advice for a larger one."""

from bayeslaw.demo.books import main

main()
