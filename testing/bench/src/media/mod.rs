//! `bench media`.
use clap::Args;
#[derive(Args, Clone, Debug)]
pub(crate) struct MediaArguments {
    #[command(flatten)]
    common: crate::Common,
}
pub(crate) fn run(_: &MediaArguments) -> anyhow::Result<()> {
    Ok(())
}
