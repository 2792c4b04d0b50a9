//go:build race

package credential_test

// touchedOnce is how many tenants a test asks for once: few, since each takes ten times as long under the race detector.
const touchedOnce = 20_000
