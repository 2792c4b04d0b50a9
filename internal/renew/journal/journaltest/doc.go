// Package journaltest holds what every [journal.Directory] is tested with: the
// contract [Test], and [Directory], one in memory whose processes a test can kill
// and whose failures it chooses.
package journaltest
