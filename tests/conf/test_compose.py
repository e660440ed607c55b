"""Overrides become one typed configuration, or one line that says what was wrong."""

import dataclasses

import pytest
import yaml

from conf import schema
from conf.benchmarks import wholes
from conf.compose import compose, compose_many
from conf.typed import ConfigError, fields_of
from conf.yaml_groups import CONF_DIR, OPTIONAL_GROUPS, groups
from records.run_dir import recorded_config

BAD = [
    # override, what the line must contain besides the override's key and value
    ("agent.lerning_rate=1", ["did you mean agent.learning_rate?", "allowed: agent.name"]),
    ("+agent.lerning_rate=1", ["did you mean agent.learning_rate?"]),
    ("lerning_rate=1", ["no such key"]),
    ("+sweeep=scaling", ["did you mean sweep?"]),
    ("+sweep=scalng", ["did you mean scaling?", "allowed: decide, scaling, search, seeds"]),
    ("+sweep=a,b", ["allowed: decide, scaling, search, seeds"]),
    ("+sweep=seeds", ["add -m"]),
    ("+agent.tau=0.1", ["without +"]),
    ("++agent.tau=0.1", ["only key=value"]),
    ("+model=xs", ["without +"]),
    ("~agent.tau", ["cannot be removed"]),
    ("agent.tau", ["key=value"]),
    ("agent.tau=fast", ["must be a finite number > 0 and <= 1"]),
    ("agent.tau=2", ["must be a finite number > 0 and <= 1"]),
    ("agent.learning_rate=nan", ["must be a finite number > 0"]),
    ("agent.learning_rate=inf", ["must be a finite number > 0"]),
    ("agent.batch_size=[]", ["must be an integer >= 1 and <= 10000000 or null"]),
    ("agent.num_bins=1", ["must be an integer >= 2"]),
    ("model.width=1.5", ["must be an integer >= 1"]),
    ("seed=true", ["must be an integer"]),
    ("seed=-1", ["must be an integer >= 0 and < 4294967296"]),
    ("seed=4294967296", ["must be an integer >= 0 and < 4294967296"]),
    ("resume=1", ["must be true or false"]),
    ("agent.value_loss=square", ["one of categorical, squared", "did you mean squared?"]),
    ("model=xll", ["did you mean xl?", "allowed: l, m,"]),
    ("agent=ppo", ["allowed: bc, brc, brc_discrete, distill, sac"]),
    ("agent=brc_discrete", ["takes discrete actions", "benchmark=quickstart has continuous ones: agent=brc"]),
    ("agent.epsilon=0.1", ["agent.learner=brc has no such key; it is a key of agent.learner=brc_discrete"]),
    ("agent.actor_network=cnn", ["one of bronet, mlp"]),
    ("agent.init_temperature=null", ["must be a finite number > 0"]),
    ("agent.embedding_norm=l3", ["one of l2, l1"]),
    ("model=glob(z*)", ["no such model", "allowed: l, m,"]),
    ("agent.tau=glob(*)", ["glob is for groups", "must be a finite number"]),
    ("seed=1,2", ["add -m"]),
    ("model=s,m", ["add -m"]),
    ("model=glob(x*)", ["add -m"]),
    ("eval=3", ["eval.every_steps"]),
    ("seed.first=3", ["seed holds a value"]),
    ("hydra.run.dir=here", ["paths.*"]),
    ("benchmark.tasks=[]", ["at least one task"]),
    ("benchmark.tasks=cartpole-balance", ["must be a list or null"]),
    ("benchmark.tasks=[ball_in_cap-catch]", ["did you mean ball_in_cup-catch?", "not in quickstart"]),
    ("benchmark.tasks=[dog-run]", ["not in quickstart", "allowed: cartpole-balance, cartpole-swingup"]),
    ("benchmark.available=[]", ["at least one task"]),
    ("benchmark.available=[cartpole-balance]", ["suite/name"]),
    ("benchmark.name=a/b", ["letters"]),
    ("agent.name=../a", ["letters"]),
    ("train.replay_capacity=10", ["train.random_steps", "1000"]),
]


@pytest.mark.parametrize(("override", "expected"), BAD, ids=[override for override, _ in BAD])
def test_bad_override_ends_in_one_line_that_names_key_and_value(override, expected):
    with pytest.raises(ConfigError) as raised:
        compose([override])
    message = str(raised.value)
    key, _, value = override.lstrip("+~").partition("=")
    assert "\n" not in message
    assert key in message
    assert value.strip("[]") in message
    for part in expected:
        assert part in message


BAD_DISCRETE = [
    ("agent=brc", ["takes continuous actions", "benchmark=atari has discrete ones: agent=brc_discrete"]),
    ("agent.actor_network=mlp", ["agent.learner=brc_discrete has no such key; it is a key of agent.learner=brc"]),
    ("agent.epsilon=null", ["must be a finite number >= 0 and <= 1"]),
    ("agent.reward_scale=paper", ["allowed here: return, off"]),
    ("agent.backup=soft", ["agent.soft_temperature=null: a number with agent.backup=soft"]),
    ("agent.soft_temperature=0.1", ["a number with agent.backup=soft, else null; agent.backup=greedy"]),
    ("model.encoder_channels=null", ["needed where agent.learner=brc_discrete"]),
    ("env.atari.full_action_set=false", ["for a single task only; benchmark.tasks has 40"]),
    ("env.atari.sticky_actions=1", ["must be a finite number >= 0 and < 1"]),
]


@pytest.mark.parametrize(("override", "expected"), BAD_DISCRETE, ids=[override for override, _ in BAD_DISCRETE])
def test_bad_override_of_the_discrete_agent_ends_in_one_line(override, expected):
    with pytest.raises(ConfigError) as raised:
        compose(["benchmark=atari", override])
    for part in (*expected, override.partition("=")[0]):
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)


CHOICES = [(group, name) for group, names in groups().items() for name in names]


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=[f"{group}={name}" for group, name in CHOICES])
def test_every_yaml_composes(group, name):
    plus = "+" if group in OPTIONAL_GROUPS else ""
    others = {"agent=brc_discrete": ["benchmark=catch"], "tracking=server": ["tracking.uri=http://host:5000"]}
    many = compose_many([f"{plus}{group}={name}", *others.get(f"{group}={name}", [])])
    assert many
    # A group that keeps its name in the configuration must be the one asked for.
    chosen = getattr(many[0].config, group, None)
    if group not in OPTIONAL_GROUPS and hasattr(chosen, "name"):
        assert chosen.name == name


def test_every_field_of_the_schema_appears_in_a_yaml():
    """Under its group's own name, so that defaults are found where they are looked for."""
    written: set[str] = set()

    def collect(values: dict, prefix: str) -> None:
        for key, value in values.items():
            written.add(f"{prefix}{key}")
            if isinstance(value, dict):
                collect(value, f"{prefix}{key}.")

    for path in CONF_DIR.rglob("*.yaml"):
        text = path.read_text()
        in_group = path.parent != CONF_DIR and "@package _global_" not in text
        collect(yaml.safe_load(text), f"{path.parent.name}." if in_group else "")

    def keys(cls: type, prefix: str = "") -> list[str]:
        found = []
        for name, field in fields_of(cls).items():
            nested = dataclasses.is_dataclass(field.type)
            found += keys(field.type, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
        return found

    assert [key for key in keys(schema.RunConfig) if key not in written] == []


def test_narrowed_benchmark_keeps_the_benchmarks_order():
    config = compose(["benchmark.tasks=[ball_in_cup-catch,cartpole-balance]"])
    assert config.benchmark.task_ids == ("dmc/cartpole-balance", "dmc/ball_in_cup-catch")


def test_a_benchmark_has_its_own_tasks_and_then_those_of_the_included_benchmarks_in_their_order():
    metaworld, dogs, quick = (compose([f"benchmark={n}"]).benchmark for n in ("metaworld", "dmc_hard", "quickstart"))
    both = compose(["benchmark.include=[metaworld,dmc_hard]"]).benchmark
    assert both.task_ids == (*quick.task_ids, *metaworld.task_ids, *dogs.task_ids)
    chosen = compose(["benchmark.include=[metaworld]", "benchmark.tasks=[push-v3,cartpole-swingup]"]).benchmark
    assert chosen.task_ids == ("dmc/cartpole-swingup", "metaworld/push")


def test_dmc_hard_is_made_up_of_the_two_lists_that_the_release_trains():
    parts = {name: compose([f"benchmark={name}"]).benchmark.task_ids for name in ("dmc_dogs", "dmc_humanoids")}
    assert [len(tasks) for tasks in parts.values()] == [4, 3]
    assert wholes()["dmc_hard"] == parts
    for name, found in wholes().items():
        together = dict.fromkeys(task for tasks in found.values() for task in tasks)
        assert compose([f"benchmark={name}"]).benchmark.task_ids == tuple(together)


def test_a_value_may_take_what_the_environment_or_another_key_says(monkeypatch):
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    config = compose(["paths.runs='${oc.env:SCRATCH}/runs'", "seed='${train.random_steps}'"])
    assert (config.paths.runs, config.seed) == ("/scratch/me/runs", 1000)


def test_published_names_are_understood():
    tasks = "[reach,push-v3,assembly-v2-goal-observable]"
    config = compose(["benchmark=metaworld", f"benchmark.tasks={tasks}"])
    assert config.benchmark.task_ids == ("metaworld/assembly", "metaworld/push", "metaworld/reach")
    where = "not in quickstart; it is in benchmark=everything, metaworld, metaworld_dmc"
    with pytest.raises(ConfigError, match=where):
        compose(["benchmark.tasks=[push-v3]"])


def test_torsos_without_norms_must_have_had_some():
    torsos = ["agent.network=mlp", "agent.actor_network=mlp"]
    with pytest.raises(ConfigError, match=r"agent\.layer_norm=false: of no effect.*agent\.actor_network=mlp"):
        compose([*torsos, "agent.layer_norm=false"])
    assert not compose([*torsos[:1], "agent.layer_norm=false"]).agent.layer_norm


def test_a_single_task_has_no_conditioning_and_the_small_batch():
    single = compose(["benchmark=dmc_hard", "benchmark.tasks=[dog-run]"])
    assert (single.conditioning, single.batch_size) == ("none", 256)
    several = compose(["benchmark=dmc_hard"])
    assert (several.conditioning, several.batch_size) == ("embedding", 1024)


def test_batch_of_the_discrete_agent_grows_with_the_tasks():
    for tasks, batch in (("null", 26 * 32), ("[Pong]", 32)):
        assert compose(["benchmark=atari100k", f"benchmark.tasks={tasks}"]).batch_size == batch
    assert compose(["benchmark=atari100k", "agent.batch_size=7"]).batch_size == 7


@pytest.mark.parametrize("order", [1, -1])
def test_command_line_wins_over_the_benchmarks_yaml_in_any_order(order):
    config = compose(["benchmark=quickstart", "agent.batch_size=7", "model=s"][::order])
    assert config.agent.batch_size == 7
    assert config.model.width == 512
    assert config.train.random_steps == 1000  # the rest stays the benchmark's


def test_command_line_wins_over_the_experiments_yaml():
    config = compose(["+experiment=dmc_hard_paper", "model=m", "train.env_steps=7"])
    assert (config.benchmark.name, config.model.width, config.train.env_steps) == ("dmc_hard", 1024, 7)


def test_the_last_override_of_a_key_wins():
    assert compose(["seed=1", "seed=2"]).seed == 2


def test_sweep_is_the_product_of_its_axes_and_says_what_varied():
    composed = compose_many(["model.width=512,1024,4096", "+sweep=scaling"])
    assert len(composed) == 15  # 3 widths, which replace the file's 6, times its 5 seeds
    pairs = [(one.config.model.width, one.config.seed) for one in composed]
    assert pairs == [(width, seed) for width in (512, 1024, 4096) for seed in range(5)]
    assert composed[7].varied == {"model.width": "1024", "seed": "2"}


def test_one_value_on_the_command_line_replaces_a_sweeps_axis():
    composed = compose_many(["+sweep=scaling", "seed=9"])
    assert [one.config.model.width for one in composed] == [128, 320, 512, 1024, 2048, 4096]
    assert {one.config.seed for one in composed} == {9}
    assert set(composed[0].varied) == {"model.width"}


def test_groups_and_globs_are_swept_too():
    composed = compose_many(["model=glob(x*,exclude=xx*)", "agent.reward_scale=release,off"])
    runs = [(one.varied["model"], one.config.model.width, one.config.agent.reward_scale) for one in composed]
    assert runs == [("xl", 4096, "release"), ("xl", 4096, "off"), ("xs", 320, "release"), ("xs", 320, "off")]


def test_a_bad_value_anywhere_in_a_sweep_stops_it_before_the_start():
    with pytest.raises(ConfigError, match=r"model\.width=0: must be an integer >= 1"):
        compose_many(["seed=range(0,3)", "model.width=8,0"])


def test_a_sweep_of_too_many_runs_is_refused_at_once():
    with pytest.raises(ConfigError, match="100000000 runs"):
        compose_many(["seed=range(0,10000)", "model.width=range(1,10001)"])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no run to continue"):
        recorded_config(tmp_path)
