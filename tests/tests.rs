//! Black-box tests over the real binary: the list of modules. One test binary, because each links SQLite again.

mod approvals; // questions to people, by key
mod approve_page; // and by their links
mod audit; // who changed what, and whether that is as it was written
mod batch; // many invokes at once
mod bench; // measuring a box
mod cancel; // cancelling at every state
mod cli; // the command line: verbs, exit codes, settings
mod crash; // kill -9 under load
mod dashboard; // its files: headers, caching, base path
mod delivery; // callback events, signatures, attempts
mod deployments; // versions, rollback, deletion, refused definitions
mod dice; // chance by a seed
mod docs; // README's tables against the code's
mod errors; // every error, by a real request
mod events; // what changes, as it happens
mod examples; // each example is run
mod faults; // disks that fill up or fail, threads and descriptors that run out, clocks that jump
mod front; // the front door under attack
mod fuzz; // ten thousand generated requests
mod guard; // where outgoing requests may go
mod house; // the process under test
mod human; // people in the middle of a run
mod invoke; // direct and callback, Idempotency-Key
mod jobs; // what is done to many at once, over kill -9
mod keys; // scopes, rotation, audit
mod limits; // queue, slots, direct runs, connections
mod lists; // formats, counts, charts, what deliveries came to
mod logs; // text and JSON lines
mod members; // people who may be asked: added, changed, removed
mod metrics; // /metrics, /v1/stats, /v1/system
mod notices; // people are told: mail, chat, webhook
mod operating; // backup, restore, check, prune
mod people; // members, and a browser without JavaScript
mod process; // commands run to their end
mod public_url; // behind a proxy
mod receiver; // the world outside
mod replay; // the power goes off: disks that hold what was synced, and a part of the rest
mod retry; // a run repeated
mod runs; // lists, filters, pages
mod scanner; // mail scanners and previews: nothing is decided by looking
mod scrape; // Prometheus' text, read strictly
mod secrets; // where they may go, and where nothing of them stays
mod session; // the cookie of a browser that signed in
mod shim; // between the binary and the C library
mod shutdown; // a clean stop
mod slow; // what is slow holds up nothing else
mod sources; // the text of src
mod steps; // failures, conditions, delays, templates
mod steps_http; // the http step
mod store; // the verbs of the store, and their contract
mod store_file; // the database file
mod tidy; // the house rules
mod verify; // signatures, by other people's code
mod webhook; // the webhook trigger
mod wire; // HTTP by hand
