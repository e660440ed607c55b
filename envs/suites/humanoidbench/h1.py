# ruff: noqa: E501 (the lines of a table)
"""The Unitree H1 humanoid as HumanoidBench has it: its joints are driven by position servos, and its links collide.

The numbers are those of MuJoCo Menagerie's H1 (Unitree, BSD-3-Clause) with HumanoidBench's changes: other ankles, hips,
servos and contacts, and its sites, sensors and cameras.
"""

from __future__ import annotations

from envs.suites.humanoidbench.parts import Parts

TRUNK = Parts(
    bodies="""
    pelvis               | -                    | 0 0 2.7           | -
    left_hip_yaw_link    | pelvis               | 0 0.0875 -0.1742  | -
    left_hip_roll_link   | left_hip_yaw_link    | 0.039468 0 0      | -
    left_hip_pitch_link  | left_hip_roll_link   | 0 0.11536 0       | -
    left_knee_link       | left_hip_pitch_link  | 0 0 -0.4          | -
    left_ankle_link      | left_knee_link       | 0 0 -0.4          | -
    right_hip_yaw_link   | pelvis               | 0 -0.0875 -0.1742 | -
    right_hip_roll_link  | right_hip_yaw_link   | 0.039468 0 0      | -
    right_hip_pitch_link | right_hip_roll_link  | 0 -0.11536 0      | -
    right_knee_link      | right_hip_pitch_link | 0 0 -0.4          | -
    right_ankle_link     | right_knee_link      | 0 0 -0.4          | -
    torso_link           | pelvis               | 0 0 0             | -
    """,
    joints="""
    free_base | pelvis | free
    left_hip_yaw    | left_hip_yaw_link    | hinge | axis 0 0 1 | range -0.43 0.43 | damping 1 | armature 0.1
    left_hip_roll   | left_hip_roll_link   | hinge | axis 1 0 0 | range -0.43 0.43 | damping 1 | armature 0.1
    left_hip_pitch  | left_hip_pitch_link  | hinge | axis 0 1 0 | range -3.14 2.53 | damping 1 | armature 0.1
    left_knee       | left_knee_link       | hinge | axis 0 1 0 | range -0.26 2.05 | damping 1 | armature 0.1
    left_ankle      | left_ankle_link      | hinge | axis 0 1 0 | range -0.87 0.52 | damping 1 | armature 0.1
    right_hip_yaw   | right_hip_yaw_link   | hinge | axis 0 0 1 | range -0.43 0.43 | damping 1 | armature 0.1
    right_hip_roll  | right_hip_roll_link  | hinge | axis 1 0 0 | range -0.43 0.43 | damping 1 | armature 0.1
    right_hip_pitch | right_hip_pitch_link | hinge | axis 0 1 0 | range -3.14 2.53 | damping 1 | armature 0.1
    right_knee      | right_knee_link      | hinge | axis 0 1 0 | range -0.26 2.05 | damping 1 | armature 0.1
    right_ankle     | right_ankle_link     | hinge | axis 0 1 0 | range -0.87 0.52 | damping 1 | armature 0.1
    torso           | torso_link           | hinge | axis 0 0 1 | range -2.35 2.35 | damping 1 | armature 0.1
    """,
    masses="""
    pelvis | 5.39 | -0.0002 4e-05 -0.04522 | 0.0490211 0.0445821 0.00824619 | 0.498303 0.499454 -0.500496 0.501741
    left_hip_yaw_link | 2.244 | -0.04923 0.0001 0.0072 | 0.00304494 0.00296885 0.00189201 | 0.69699 0.219193 0.233287 0.641667
    left_hip_roll_link | 2.232 | -0.0058 -0.00319 -9e-05 | 0.00243264 0.00225325 0.00205492 | 0.0438242 0.70721 -0.0729075 0.701867
    left_hip_pitch_link | 4.152 | 0.00746 -0.02346 -0.08193 | 0.0829503 0.0821457 0.00510909 | 0.979828 0.0513522 -0.0169854 -0.192382
    left_knee_link | 1.721 | -0.00136 -0.00512 -0.1384 | 0.0125237 0.0123104 0.0019428 | 0.626132 -0.034227 -0.0416277 0.777852
    left_ankle_link | 0.552448 | 0.048568 0 -0.045609 | 0.00362 0.00355701 0.000149987 | 0.489385 0.510394 0.510394 0.489385
    right_hip_yaw_link | 2.244 | -0.04923 -0.0001 0.0072 | 0.00304494 0.00296885 0.00189201 | 0.641667 0.233287 0.219193 0.69699
    right_hip_roll_link | 2.232 | -0.0058 0.00319 -9e-05 | 0.00243264 0.00225325 0.00205492 | -0.0438242 0.70721 0.0729075 0.701867
    right_hip_pitch_link | 4.152 | 0.00746 0.02346 -0.08193 | 0.0829503 0.0821457 0.00510909 | 0.979828 -0.0513522 -0.0169854 0.192382
    right_knee_link | 1.721 | -0.00136 0.00512 -0.1384 | 0.0125237 0.0123104 0.0019428 | 0.777852 -0.0416277 -0.034227 0.626132
    right_ankle_link | 0.552448 | 0.048568 0 -0.045609 | 0.00362 0.00355701 0.000149987 | 0.489385 0.510394 0.510394 0.489385
    torso_link | 17.789 | 0.000489 0.002797 0.20484 | 0.487315 0.409628 0.127837 | 0.999989 -0.00130808 -0.00282289 -0.00349105
    """,
    geoms="""
    pelvis               | - | VC | mesh     | pelvis               | -          | - | rgba 0.1 0.1 0.1 1
    left_hip_yaw_link    | - | V  | mesh     | left_hip_yaw_link    | -          | - | rgba 0.1 0.1 0.1 1
    left_hip_yaw_link    | - | C  | cylinder | 0.06 0.035           | -0.067 0 0 | 0.707123 0 0.70709 0 | rgba 0.1 0.1 0.1 1
    left_hip_roll_link   | - | VC | mesh     | left_hip_roll_link   | -          | - | rgba 0.1 0.1 0.1 1
    left_hip_pitch_link  | - | VC | mesh     | left_hip_pitch_link  | -          | - | rgba 0.1 0.1 0.1 1
    left_knee_link       | - | VC | mesh     | left_knee_link       | -          | - | rgba 0.1 0.1 0.1 1
    left_ankle_link      | - | VC | mesh     | left_ankle_link      | -          | - | rgba 0.1 0.1 0.1 1
    right_hip_yaw_link   | - | V  | mesh     | right_hip_yaw_link   | -          | - | rgba 0.1 0.1 0.1 1
    right_hip_yaw_link   | - | C  | cylinder | 0.06 0.035           | -0.067 0 0 | 0.707123 0 0.70709 0 | rgba 0.1 0.1 0.1 1
    right_hip_roll_link  | - | VC | mesh     | right_hip_roll_link  | -          | - | rgba 0.1 0.1 0.1 1
    right_hip_pitch_link | - | VC | mesh     | right_hip_pitch_link | -          | - | rgba 0.1 0.1 0.1 1
    right_knee_link      | - | VC | mesh     | right_knee_link      | -          | - | rgba 0.1 0.1 0.1 1
    right_ankle_link     | - | VC | mesh     | right_ankle_link     | -          | - | rgba 0.1 0.1 0.1 1
    torso_link           | - | VC | mesh     | torso_link           | -          | - | rgba 0.1 0.1 0.1 1
    torso_link           | - | V  | mesh     | logo_link            | -          | - | rgba 1 1 1 1
    """,
    actuators="""
    left_hip_yaw    | joint left_hip_yaw    | 200 | 5 | -0.43 0.43 | -200 200
    left_hip_roll   | joint left_hip_roll   | 200 | 5 | -0.43 0.43 | -200 200
    left_hip_pitch  | joint left_hip_pitch  | 200 | 5 | -3.14 2.53 | -200 200
    left_knee       | joint left_knee       | 300 | 6 | -0.26 2.05 | -300 300
    left_ankle      | joint left_ankle      | 40  | 2 | -0.87 0.52 | -40 40
    right_hip_yaw   | joint right_hip_yaw   | 200 | 5 | -0.43 0.43 | -200 200
    right_hip_roll  | joint right_hip_roll  | 200 | 5 | -0.43 0.43 | -200 200
    right_hip_pitch | joint right_hip_pitch | 200 | 5 | -3.14 2.53 | -200 200
    right_knee      | joint right_knee      | 300 | 6 | -0.26 2.05 | -300 300
    right_ankle     | joint right_ankle     | 40  | 2 | -0.87 0.52 | -40 40
    torso           | joint torso           | 300 | 6 | -2.35 2.35 | -200 200
    """,
    sites="""
    com        | pelvis           | 0 0 0                      | size 0.01 | group 4
    left_foot  | left_ankle_link  | 0 0 -0.05                  | size 0.001 | group 4
    right_foot | right_ankle_link | 0 0 -0.05                  | size 0.001 | group 4
    left_eye   | torso_link       | 0.1 0.03 0.65              | size 0.01 | quat 0.707106781187 0 0.707106781187 0
    right_eye  | torso_link       | 0.1 -0.03 0.65             | size 0.01 | quat 0.707106781187 0 0.707106781187 0
    head       | torso_link       | 0 0 0.7                    | size 0.01 | group 4
    imu        | torso_link       | -0.04452 -0.01891 0.27756  | size 0.01 | group 4
    """,
    cameras="""
    cam_default      | pelvis | 2 3 0.8      | -1 0.5 0 -0.2 -0.2 1
    cam_maze         | pelvis | 3 3 3        | -0.5 0.5 0 -0.4 -0.4 1
    cam_hurdle       | pelvis | -3 3 3       | -0.5 -0.5 0 0.4 -0.4 1
    cam_tabletop     | pelvis | 2.5 2 1.5    | -0.5 0.5 0 -0.4 -0.4 1
    cam_basketball   | pelvis | -1.8 3.5 3   | -0.4 -0.5 0 0.4 -0.4 1
    cam_hand_visible | pelvis | -1.5 1.5 0.5 | -0.8 -1 0 0 -0.3 1
    cam_inhand       | pelvis | 1.5 1.5 0.5  | -1 0.8 0 0 -0.3 1
    cam_course       | pelvis | -3 -2.5 1.8  | 3 -6 0 21 10.5 45
    cam_above        | pelvis | 0 -4 8       | 1 0 0 0 2 1
    """,
)
"""Pelvis, legs and torso."""

LEFT_ARM = Parts(
    bodies="""
    left_shoulder_pitch_link | torso_link               | 0.0055 0.15535 0.42999 | 0.976296 0.216438 0 0
    left_shoulder_roll_link  | left_shoulder_pitch_link | -0.0055 0.0565 -0.0165 | 0.976296 -0.216438 0 0
    left_shoulder_yaw_link   | left_shoulder_roll_link  | 0 0 -0.1343            | -
    left_elbow_link          | left_shoulder_yaw_link   | 0.0185 0 -0.198        | -
    """,
    joints="""
    left_shoulder_pitch | left_shoulder_pitch_link | hinge | axis 0 1 0 | range -2.87 2.87 | damping 1 | armature 0.1
    left_shoulder_roll  | left_shoulder_roll_link  | hinge | axis 1 0 0 | range -0.34 3.11 | damping 1 | armature 0.1
    left_shoulder_yaw   | left_shoulder_yaw_link   | hinge | axis 0 0 1 | range -1.3 4.45 | damping 1 | armature 0.1
    left_elbow          | left_elbow_link          | hinge | axis 0 1 0 | range -1.25 2.61 | damping 1 | armature 0.1
    """,
    masses="""
    left_shoulder_pitch_link | 1.033 | 0.005045 0.053657 -0.015715 | 0.00129936 0.000987113 0.000858198 | 0.814858 0.579236 -0.0201072 -0.00936488
    left_shoulder_roll_link | 0.793 | 0.000679 0.00115 -0.094076 | 0.00170388 0.00158256 0.00100336 | 0.732491 0.00917179 0.0766656 0.676384
    left_shoulder_yaw_link | 0.839 | 0.01365 0.002767 -0.16266 | 0.00408038 0.00370367 0.000622687 | 0.703042 -0.0331229 -0.0473362 0.708798
    left_elbow_link | 0.669 | 0.15908 -0.000144 -0.015776 | 0.00601829 0.00600579 0.000408305 | 0.0765232 0.720327 0.0853116 0.684102
    """,
    geoms="""
    left_shoulder_pitch_link | - | VC | mesh | left_shoulder_pitch_link | - | - | rgba 0.1 0.1 0.1 1
    left_shoulder_roll_link  | - | VC | mesh | left_shoulder_roll_link  | - | - | rgba 0.1 0.1 0.1 1
    left_shoulder_yaw_link   | - | VC | mesh | left_shoulder_yaw_link   | - | - | rgba 0.1 0.1 0.1 1
    left_elbow_link          | - | VC | mesh | left_elbow_link          | - | - | rgba 0.1 0.1 0.1 1
    """,
    actuators="""
    left_shoulder_pitch | joint left_shoulder_pitch | 100 | 2 | -2.87 2.87 | -40 40
    left_shoulder_roll  | joint left_shoulder_roll  | 100 | 2 | -0.34 3.11 | -40 40
    left_shoulder_yaw   | joint left_shoulder_yaw   | 100 | 2 | -1.3 4.45  | -18 18
    left_elbow          | joint left_elbow          | 100 | 2 | -1.25 2.61 | -18 18
    """,
    sites="""
    left_hand | left_elbow_link | 0.31 0 -0.01 | size 0.01 | group 4
    """,
)
"""The left arm to the elbow's link, which ends where a hand would begin."""

RIGHT_ARM = Parts(
    bodies="""
    right_shoulder_pitch_link | torso_link                | 0.0055 -0.15535 0.42999 | 0.976296 -0.216438 0 0
    right_shoulder_roll_link  | right_shoulder_pitch_link | -0.0055 -0.0565 -0.0165 | 0.976296 0.216438 0 0
    right_shoulder_yaw_link   | right_shoulder_roll_link  | 0 0 -0.1343             | -
    right_elbow_link          | right_shoulder_yaw_link   | 0.0185 0 -0.198         | -
    """,
    joints="""
    right_shoulder_pitch | right_shoulder_pitch_link | hinge | axis 0 1 0 | range -2.87 2.87 | damping 1 | armature 0.1
    right_shoulder_roll  | right_shoulder_roll_link  | hinge | axis 1 0 0 | range -3.11 0.34 | damping 1 | armature 0.1
    right_shoulder_yaw   | right_shoulder_yaw_link   | hinge | axis 0 0 1 | range -4.45 1.3 | damping 1 | armature 0.1
    right_elbow          | right_elbow_link          | hinge | axis 0 1 0 | range -1.25 2.61 | damping 1 | armature 0.1
    """,
    masses="""
    right_shoulder_pitch_link | 1.033 | 0.005045 -0.053657 -0.015715 | 0.00129936 0.000987113 0.000858198 | 0.579236 0.814858 0.00936488 0.0201072
    right_shoulder_roll_link | 0.793 | 0.000679 -0.00115 -0.094076 | 0.00170388 0.00158256 0.00100336 | 0.676384 0.0766656 0.00917179 0.732491
    right_shoulder_yaw_link | 0.839 | 0.01365 -0.002767 -0.16266 | 0.00408038 0.00370367 0.000622687 | 0.708798 -0.0473362 -0.0331229 0.703042
    right_elbow_link | 0.669 | 0.15908 0.000144 -0.015776 | 0.00601829 0.00600579 0.000408305 | -0.0765232 0.720327 -0.0853116 0.684102
    """,
    geoms="""
    right_shoulder_pitch_link | - | VC | mesh | right_shoulder_pitch_link | - | - | rgba 0.1 0.1 0.1 1
    right_shoulder_roll_link  | - | VC | mesh | right_shoulder_roll_link  | - | - | rgba 0.1 0.1 0.1 1
    right_shoulder_yaw_link   | - | VC | mesh | right_shoulder_yaw_link   | - | - | rgba 0.1 0.1 0.1 1
    right_elbow_link          | - | VC | mesh | right_elbow_link          | - | - | rgba 0.1 0.1 0.1 1
    """,
    actuators="""
    right_shoulder_pitch | joint right_shoulder_pitch | 100 | 2 | -2.87 2.87 | -40 40
    right_shoulder_roll  | joint right_shoulder_roll  | 100 | 2 | -3.11 0.34 | -40 40
    right_shoulder_yaw   | joint right_shoulder_yaw   | 100 | 2 | -4.45 1.3  | -18 18
    right_elbow          | joint right_elbow          | 100 | 2 | -1.25 2.61 | -18 18
    """,
    sites="""
    right_hand | right_elbow_link | 0.31 0 -0.01 | size 0.01 | group 4
    """,
)
"""The right arm to the elbow's link."""

STUMPS = Parts(
    bodies="""
    left_hand  | left_elbow_link  | 0.31 0 -0.01 | -
    right_hand | right_elbow_link | 0.31 0 -0.01 | -
    """,
    masses="""
    left_hand  | 0 | 0.31 0 -0.01 | 0 0 0 | -
    right_hand | 0 | 0.31 0 -0.01 | 0 0 0 | -
    """,
)
"""The hands of the robot without hands: bodies without mass, for sensors."""

SENSORS = Parts(
    sensors="""
    left_foot_sensor          | touch         | site left_foot
    right_foot_sensor         | touch         | site right_foot
    pelvis_subtreelinvel      | subtreelinvel | body pelvis
    left_hand_subtreelinvel   | subtreelinvel | body left_hand
    right_hand_subtreelinvel  | subtreelinvel | body right_hand
    body_velocimeter          | velocimeter   | site com
    """,
)
"""What the robot with or without hands measures."""

WHOLE = TRUNK + LEFT_ARM + RIGHT_ARM + STUMPS + SENSORS
"""The robot without hands."""

LEG = {"hip_pitch": -0.4, "knee": 0.8, "ankle": -0.4}
START = {"free_base": (0, 0, 0.98, 1, 0, 0, 0)} | {
    f"{side}_{joint}": (angle,) for side in ("left", "right") for joint, angle in LEG.items()
}
"""Where an episode starts: positions by joint; joints that are not named are at 0."""
