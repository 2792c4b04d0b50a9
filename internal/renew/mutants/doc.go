// Package mutants breaks package renew deliberately, one line at a time, and looks
// whether its tests and its simulation find that. A mutant that nobody finds is a rule that
// could be lost without notice, or a line that is not needed.
//
//	MUTANTS=soak go test -v -timeout 3h -run Found ./internal/renew/mutants
//	MUTANTS=soak go test -v -run Found/await ./internal/renew/mutants   # those of one file
//
// It takes some ten seconds for each. Without MUTANTS it is only tested that each mutant
// still stands for a line of the code.
package mutants
