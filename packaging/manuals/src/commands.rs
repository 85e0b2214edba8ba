//! The command lines, and their part of a page.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use cthelper_supervisor::cli;

/// `cthelperd`.
pub(crate) fn daemon() -> Command {
    cli::daemon::Cli::command()
}

/// `cthelperctl`.
pub(crate) fn ctl() -> Command {
    cli::ctl::Cli::command()
}

/// A section for the options of all commands, and one that has a part for each command that does something.
pub(crate) fn sections(command: &Command) -> io::Result<String> {
    let mut text = String::from(".SH COMMANDS\n");
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        describe(sub, command.get_name(), &mut text)?;
    }
    let everywhere = options(command)?;
    if !everywhere.is_empty() {
        text.push_str(".SH OPTIONS\nOf every command:\n");
        text.push_str(&everywhere);
    }
    Ok(text)
}

/// A command that only leads to others is passed over, unless it does something by itself.
fn describe(command: &Command, before: &str, text: &mut String) -> io::Result<()> {
    let name = format!("{before} {}", command.get_name());
    if !command.is_subcommand_required_set() {
        text.push_str(&part(command, &name)?);
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        describe(sub, &name, text)?;
    }
    Ok(())
}

fn part(command: &Command, name: &str) -> io::Result<String> {
    let man = Man::new(alone(command).bin_name(name));
    let mut text = String::from(".TP\n");
    text.push_str(&body(|out| man.render_synopsis_section(out))?);
    text.push_str(&body(|out| man.render_description_section(out))?);
    let options = options(command)?;
    if !options.is_empty() {
        text.push_str(".RS\n");
        text.push_str(&options);
        text.push_str(".RE\n");
    }
    Ok(text)
}

fn options(command: &Command) -> io::Result<String> {
    let man = Man::new(alone(command));
    body(|out| man.render_options_section(out))
}

/// Without what clap adds to every command.
fn alone(command: &Command) -> Command {
    command.clone().disable_help_flag(true).disable_version_flag(true).disable_help_subcommand(true)
}

/// A section without its heading; empty if it has none.
fn body(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut bytes = Vec::new();
    render(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    let heading = text.find(".SH ").unwrap_or(text.len());
    Ok(text.get(heading..).and_then(|section| section.split_once('\n')).map_or(String::new(), |(_, body)| body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_does_something_has_a_part_with_its_options() {
        let text = sections(&ctl()).unwrap();
        for said in
            ["cthelperctl status", "cthelperctl rules nft", "cthelperctl crashes", "cthelperctl crashes show", "\\-\\-unheld"]
        {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("cthelperctl rules\\fR \n"), "{text}");
        assert!(!text.contains("Print help"), "{text}");
    }
}
