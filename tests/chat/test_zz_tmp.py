from tests.chat.driving import *
async def test_x(home):
    async with chat(home) as it:
        await it.ask("say one")
        await asyncio.sleep(2)
        for w in [it.app, *it.app.screen_stack, *it.app.screen.walk_children()]:
            for t in w._timers:
                if t._task is not None: print("PROMPT", w, t, t._repeat, t._interval, t._active.is_set(), t._callback)
