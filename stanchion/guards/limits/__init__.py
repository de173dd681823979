"""What may say no to a call: deadlines, money, rates, breakers and retry budgets, declared in one policy."""
