//! `coordctl tokens`: what can be typed.

use super::FormatArgs;
use clap::{Args, Subcommand};
use coord_shared::names::{RepositoryPattern, TokenName};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct TokensArgs {
    #[command(subcommand)]
    pub(crate) command: Option<TokensCommand>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// List tokens and what they open (what `coordctl tokens` does)
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Make a token, and print it
    #[command(
        long_about = "Make a token, and print it. It is shown this once; the coordinator keeps only its hash. With --pull and \
--push it opens repositories of the image centre and nothing else: it is the password of `docker login`, with any user name. With \
--admin it opens everything.",
        after_help = "Examples:\n  coordctl tokens add ci --push 'shop/*'\n  coordctl tokens add laptop --pull '*'\n  \
coordctl tokens add anna --admin"
    )]
    Add(TokensAddArgs),
    /// End tokens; whoever still shows one is refused at once
    #[command(visible_alias = "remove")]
    Rm {
        /// The tokens' names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<TokenName>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TokensAddArgs {
    /// Its name, by which it is listed and ended
    #[arg(value_name = "NAME")]
    pub(crate) name: TokenName,
    /// Repositories that may be pulled: shop/web, shop/*, or * for all; may be repeated
    #[arg(long, value_name = "REPOSITORY", required_unless_present_any = ["push", "admin"])]
    pub(crate) pull: Vec<RepositoryPattern>,
    /// Repositories that may be pushed, and pulled; may be repeated
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) push: Vec<RepositoryPattern>,
    /// Everything: commands the fleet as the first admin token does
    #[arg(long, conflicts_with_all = ["pull", "push"])]
    pub(crate) admin: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}
