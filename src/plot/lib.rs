//! Pictures of trajectories as SVG text.
