//! A little chaos in every run of the suite; `coord-bench chaos` makes much of it.

use anyhow::Result;

#[test]
fn twenty_kills_leave_everything_as_it_should_be() -> Result<()> {
    let report = coord_tests::chaos::run(20, 1, "none")?;
    assert!(report.kills.values().sum::<usize>() >= 20 && report.lines > 100, "{report:?}");
    Ok(())
}
