"""Who refreshes views while others write, aligns models, alters tables, and makes and drops views."""

import views_world as world
from views_actors import Actor
from views_observer import look


class Refresher(Actor):
    kind = "refresh"
    pause = (0.0, 0.5)
    actions = {
        "whole": 4,
        "some": 4,
        "forced": 1,
        "forced_some": 2,
        "with_rollback": 5,
        "after_own_change": 2,
        "several": 2,
    }

    def view(self) -> world.View:
        return self.rng.choice(world.VIEWS)

    def ids(self, view) -> list[str]:
        target = view.target or world.SPACE_A
        return [target.entity_id(n) for n in self.rng.sample(range(world.ENTITIES + 5), 6)]

    def refresh(self, view=None):
        view = view or self.view()
        ids = self.rng.choice([None, self.ids(view)])
        force = self.rng.random() < 0.3
        self.conn.execute("SELECT cvx.refresh_view(%s, %s, %s)", (view.name, ids, force))
        return view, ids

    def whole(self):
        self.conn.execute("SELECT cvx.refresh_view(%s)", (self.view().name,))

    def some(self):
        view = self.view()
        self.conn.execute("SELECT cvx.refresh_view(%s, %s)", (view.name, self.ids(view)))

    def forced(self):
        self.conn.execute("SELECT cvx.refresh_view(%s, force => true)", (self.view().name,))

    def forced_some(self):
        view = self.view()
        self.conn.execute("SELECT cvx.refresh_view(%s, %s, true)", (view.name, self.ids(view)))

    def with_rollback(self):
        self.begin()
        if self.rng.random() < 0.5:
            self.conn.execute("SELECT count(*) FROM public.plain")
            self.nap()
        self.refresh()
        self.nap()
        self.conn.execute(self.rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))

    def several(self):
        """In one transaction, in the order in which they were made: so does DDL on what they read lock them."""
        self.begin()
        for view in sorted(self.rng.sample(world.VIEWS, 3), key=world.VIEWS.index):
            self.conn.execute("SELECT cvx.refresh_view(%s)", (view.name,))
            self.nap()
        self.conn.execute("COMMIT")

    def after_own_change(self):
        """What a transaction refreshes after its own change is right at once, and gone when it rolls back."""
        self.begin("READ COMMITTED")
        # Writers of the same row do wait for it.
        self.conn.execute("SET LOCAL application_name = 'refresh of its own change'")
        target = self.rng.choice(world.TARGETS)
        self.conn.execute(f"LOCK TABLE {target.table} IN ROW EXCLUSIVE MODE")
        number = self.rng.randrange(world.ENTITIES)
        row = (target.entity_id(number), world.stamp(3), world.vector(target, number, 3, self.rng.random()))
        world.insert(self.conn, target, [row], world.GOLD, upsert=True)
        view, ids = self.refresh(self.rng.choice([view for view in world.VIEWS if view.target is target]))
        seen = look(self.conn, view.name, ids)
        for wrong in seen.wrong():
            self.ledger.report(f"{self.name} sees of {view.name} after its own refresh: {wrong}")
        self.ledger.count("fresh rows checked by refreshers", seen.fresh_rows)
        self.conn.execute(self.rng.choice(["COMMIT", "ROLLBACK"]))


class Modeler(Actor):
    """Makes alignments anew, and changes who is in a cohort."""

    kind = "model"
    pause = (0.5, 4.0)
    actions = {"align": 2, "align_in_transaction": 1, "cohort": 3, "invalidate": 1}

    def align(self):
        self.conn.execute("SELECT cvx.align('m', 'v2', %s)", (self.rng.choice(world.METHODS),))

    def align_in_transaction(self):
        self.begin()
        self.align()
        self.nap(1.0)
        self.conn.execute(self.rng.choice(["COMMIT", "ROLLBACK"]))

    def cohort(self):
        number = self.rng.randrange(world.ENTITIES)
        if self.rng.random() < 0.5:
            self.conn.execute("INSERT INTO public.cohort VALUES (%s) ON CONFLICT DO NOTHING", (number,))
        else:
            self.conn.execute("DELETE FROM public.cohort WHERE id = %s", (number,))

    def invalidate(self):
        self.conn.execute("SELECT cvx.invalidate_view(%s)", (self.rng.choice(world.VIEWS).name,))


class Definer(Actor):
    """DDL on the tables that views are computed from, and views that come and go."""

    kind = "define"
    pause = (0.5, 5.0)
    actions = {
        "truncate": 1,
        "detach_and_attach": 3,
        "new_partition": 2,
        "triggers_off_and_on": 2,
        "view_comes_and_goes": 3,
        "rewrite": 1,
    }

    def forgives(self, doing: str, state: str) -> bool:
        # A partition may be refused or half way there after a crash; both are mended by the next round.
        return doing.startswith("define: ") and state in ("42P07", "42P01", "42809", "55000", "23514", "42P17", "42710")

    def truncate(self):
        table = self.rng.choice(["cvx_space.b", "public.plain", "public.parted_1", "public.parted", "public.cohort"])
        self.begin("READ COMMITTED")
        self.conn.execute(f"TRUNCATE {table}")
        if table == "cvx_space.b":
            # A model whose versions have no entity in common has no canonical trajectories to compare.
            numbers = range(world.ENTITIES)
            rows = [(f"e{n:02}", world.stamp(n % world.SLOTS), world.vector(world.SPACE_B, n, n, 0.1)) for n in numbers]
            world.insert(self.conn, world.SPACE_B, rows)
        # Mostly undone, so that there is something left to be wrong about.
        self.conn.execute("COMMIT" if self.rng.random() < 0.3 else "ROLLBACK")

    def detach_and_attach(self):
        self.conn.execute("ALTER TABLE public.parted DETACH PARTITION public.parted_1")
        for _ in range(self.rng.randrange(3)):
            number = self.rng.randrange(world.PARTS[1], world.PARTS[2])
            row = (number, world.stamp(5), world.vector(world.PARTED, number, 5, self.rng.random()))
            query = "INSERT INTO public.parted_1 VALUES (%s, %s, %s) ON CONFLICT (id, at) DO UPDATE SET v = excluded.v"
            self.conn.execute(query, row)
            self.nap()
        self.attach()

    def attach(self):
        low, high = world.PARTS[1:3]
        bounds = f"FOR VALUES FROM ({low}) TO ({high})"
        self.conn.execute(f"ALTER TABLE public.parted ATTACH PARTITION public.parted_1 {bounds}")

    def new_partition(self):
        bounds = "FOR VALUES FROM (1000) TO (2000)"
        self.conn.execute(f"CREATE TABLE public.parted_3 PARTITION OF public.parted {bounds}")
        self.conn.execute("INSERT INTO public.parted_3 VALUES (1001, '2026-01-03', '[1,2,3,4,5,6,7,8]')")
        self.conn.execute("INSERT INTO public.parted VALUES (1001, '2026-01-04', '[1,2,3,4,5,6,7,9]')")
        self.nap(2.0)
        self.conn.execute("DROP TABLE public.parted_3")

    def triggers_off_and_on(self):
        target = self.rng.choice(world.TARGETS[1:])
        self.conn.execute(f"ALTER TABLE {target.table} DISABLE TRIGGER USER")
        self.nap(1.0)
        number = self.rng.randrange(world.ENTITIES)
        row = (target.entity_id(number), world.stamp(7), world.vector(target, number, 7, self.rng.random()))
        world.insert(self.conn, target, [row], world.GOLD, upsert=True)
        self.nap(1.0)
        self.conn.execute(f"ALTER TABLE {target.table} ENABLE TRIGGER USER")

    def rewrite(self):
        self.conn.execute(self.rng.choice(["VACUUM FULL public.plain", "CLUSTER public.plain USING plain_pkey"]))

    def view_comes_and_goes(self):
        kind = self.rng.choice(["temporal_features", "drift_summary"])
        view = world.View("extra", kind, self.rng.choice(world.TARGETS), {})
        if view.type == "drift_summary":
            view.config["window"] = "5 days"
        exists = "SELECT count(*) FROM cvx.view WHERE name = 'extra'"
        if self.conn.execute(exists).fetchone()[0] == 0:
            world.create_view(self.conn, view)
            self.nap(2.0)
        self.conn.execute("SELECT cvx.drop_view('extra')")

    def choose(self):
        # What a crash, a lock timeout or a cancel has cut short is put in place first.
        self.mend(self.conn)
        return super().choose()

    def mend(self, conn):
        attached = "SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass('public.parted_1')"
        self.conn = conn
        if conn.execute(attached).fetchone()[0] == 0:
            self.attach()
        conn.execute("DROP TABLE IF EXISTS public.parted_3")
        disabled = """SELECT count(*) FROM pg_trigger
                      WHERE tgrelid = %s::regclass AND tgname LIKE 'cvx_%%' AND tgenabled = 'D'"""
        for target in world.TARGETS:
            if conn.execute(disabled, (target.table,)).fetchone()[0]:
                conn.execute(f"ALTER TABLE {target.table} ENABLE TRIGGER USER")
        if conn.execute("SELECT count(*) FROM cvx.view WHERE name = 'extra'").fetchone()[0]:
            conn.execute("SELECT cvx.drop_view('extra')")
