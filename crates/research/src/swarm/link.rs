//! Which agent a sandbox belongs to that is about to be made.

use ringfence_model::{ApiError, Code, Project, api::CreateRequest};
use ringfence_store::{StoreError, View};

use super::rows::{self, linked};

/// What a sandbox's name says: `agent-<agent id>-sandbox`.
fn named(name: &str) -> Option<&str> {
    name.strip_prefix("agent-")?.strip_suffix("-sandbox").filter(|id| !id.is_empty())
}

fn no_agent(agent: &str, of: &str) -> ApiError {
    let shown = agent.chars().take(80).collect::<String>().escape_debug().to_string();
    ApiError::new(Code::SwarmNotFound, format!("there is no agent `{shown}` in {of}; `swarm_status` shows the agents"))
}

/// Fills in `swarm_id` and `agent_id`: both are set, or neither. There are the swarms of a project, or all.
///
/// By `agent_id`, its sandbox; by `swarm_id` alone, that of its first agent that has none; by a name that holds the id of an agent of
/// an active swarm, as the seed's loop gives it, that agent's. Another name of that shape is only a name.
///
/// # Errors
/// The database; SWARM_NOT_FOUND and INVALID_ARGUMENT within.
pub(crate) fn link(
    view: &View<'_>,
    of: Option<&Project>,
    mut request: CreateRequest,
) -> Result<Result<CreateRequest, ApiError>, StoreError> {
    let by_name = request.name.as_deref().and_then(named);
    if request.swarm_id.is_none() && request.agent_id.is_none() && by_name.is_none() {
        return Ok(Ok(request));
    }
    let swarms = match request.swarm_id.as_deref() {
        None => rows::active(view, of)?,
        reference => match rows::find(view, of, reference)? {
            Some(swarm) if swarm.ended_at_ms.is_none() => vec![swarm],
            found => return Ok(Err(rows::unknown(reference, found.is_some()))),
        },
    };
    let is_there = |id: &str| {
        swarms.iter().find_map(|swarm| {
            let agent = swarm.agents.iter().find(|(_, agent)| agent.id.as_str() == id)?;
            Some((swarm.id.to_string(), agent.1.id.to_string()))
        })
    };
    let found = match (request.agent_id.as_deref(), by_name.and_then(is_there)) {
        (Some(agent), _) => match is_there(agent) {
            Some(found) => Some(found),
            None => {
                let of = request
                    .swarm_id
                    .as_ref()
                    .map_or("any active swarm".to_owned(), |_| format!("swarm {}", swarms[0].id));
                return Ok(Err(no_agent(agent, &of)));
            }
        },
        (None, Some(found)) => Some(found),
        (None, None) if request.swarm_id.is_some() => {
            let swarm = &swarms[0];
            let sandboxes = view.sandboxes_of_swarm(&swarm.id, swarm.created_at_ms)?;
            let Some((_, agent)) = swarm.agents.iter().find(|(_, agent)| linked(&sandboxes, &agent.id).is_none())
            else {
                let text = format!(
                    "every agent of swarm {} has a sandbox; name one with `agent_id`, or add one with `agent_spawn`",
                    swarm.id
                );
                return Ok(Err(ApiError::new(Code::InvalidArgument, text)));
            };
            Some((swarm.id.to_string(), agent.id.to_string()))
        }
        (None, None) => None,
    };
    (request.swarm_id, request.agent_id) = found.unzip();
    Ok(Ok(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_name_holds_an_agent() {
        assert_eq!(named("agent-a0123456789x-sandbox"), Some("a0123456789x"));
        for other in ["agent--sandbox", "agent-sandbox", "agent-x", "x-sandbox", "Agent-a-sandbox"] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
