"""What several suites on MuJoCo have in common.

The lean steppers (`dmc.lean`, `dmc.physics`, `metaworld.lean`, `shared.rebinding`) change no number, but to be quick
they reach for names that their libraries do not promise to keep. Here are all of these names, with the versions that
they were tried with (those in constraints.txt). Whoever raises a version should look for each name, and run the slow
tests in `tests/envs/suites/test_lean.py`, which compare every task with its library.

dm_control 1.0.28
    `suite._DOMAINS`                                    the module of a domain, whose functions build its tasks
    `control.Environment._n_sub_steps`                  physics steps in a control step
    `suite.base.Task._random`                           the generator of an episode's start
    `mujoco.index.FieldIndexer._axes`, `_field`, `_convert_key`, `mujoco.index.Axes`   access to fields by name
    `named.data._asdict()`, `named.model._asdict()`     the fields that have such access
    globals `np`, `rewards`, `Physics` of the task modules, which `rebinding` replaces in copies of their functions
    the order `mj_step2`, `mj_step1` of `Physics.step` with the legacy step
metaworld 3.1.1, class `sawyer_xyz_env.SawyerXYZEnv`
    attributes `_partially_observable`, `_freeze_rand_vec`, `seeded_rand_vec`, `_set_task_called`, `_prev_obs`,
    `_last_stable_obs`, `_target_site_config`, the cached `sawyer_observation_space`
    methods `_initialize_simulation`, `_reset_hand`, `_get_obs`, `_get_curr_obs_combined_no_goal`, `_get_pos_objects`,
    `_get_quat_objects`, `_get_pos_goal`, `_gripper_caging_reward`, `touching_object`, `tcp_center`
    the closure of the decorated `evaluate_state`, and globals `np`, `reward_utils`, `Rotation` of the task modules
gymnasium 1.4.0
    `envs.mujoco.mujoco_env.MujocoEnv.reset` and `close`, called past the task's own
mujoco 3.3.0
    `MjModel` can be copied, `MjData` can be derived from; `warning.number` is a view of the simulation's counters, and
    MuJoCo begins a bad state anew after it has counted it there
numpy 2.4.6
    `np._core.umath.clip`, the clip of scalars and arrays without what `np.clip` does about absent bounds
"""
