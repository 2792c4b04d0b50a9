// Package simulation runs the real refresh coordinator in a simulated world: three
// processes on two machines, a Vault in memory, journals in memory and an
// authorization server that keeps a ledger. All of it is in a testing/synctest
// bubble, so an hour takes milliseconds.
//
// A run is made from a seed. The seed decides which credentials there are, whether they
// share a provider, how that is configured and how its server treats the refresh tokens of
// each, and what goes wrong at which edge: of the
// store, the journal, the way to the token endpoint, the endpoint itself; whose
// process dies or is stopped there; and what operators write meanwhile. Each
// decision depends on the seed, the edge and how often the edge was passed, and not
// on which goroutine came first. What the seed does not decide is the jitter of the
// coordinator's own pauses, and so a run that is repeated is much the same and
// not quite.
//
// Then the faults end and time passes. The [ledger] judges what is sent and what is
// written while it happens, and the outcome in the end. The properties are those of
// package modelcheck, which searches a small model of the protocol exhaustively;
// this package tries the code itself at random.
//
// Tests begin at a random seed, which they print.
//
//	SIMULATION_SEED=17 go test -run TestSeeds$ -v ./internal/renew/simulation      # one run, with its trace
//	SIMULATION_SEEDS=20000 go test -run TestSeeds$ -v ./internal/renew/simulation  # more runs
//	SIMULATION_FIRST=17 …                                                            # from that seed on
package simulation
