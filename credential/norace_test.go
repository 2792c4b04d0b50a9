//go:build !race

package credential_test

// touchedOnce is how many tenants a test asks for once: as many as are promised to leave no memory behind.
const touchedOnce = 100_000
