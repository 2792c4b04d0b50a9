package vaulttest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerKeepsItsDataOverKillAndSeal(t *testing.T) {
	server := Start(t, Options{RootToken: "another-root"})
	client := server.Client()
	if client.Token() != "another-root" {
		t.Fatalf("root token is %q", client.Token())
	}
	if _, err := client.Logical().Write("secret/data/a", map[string]any{"data": map[string]any{"n": "1"}}); err != nil {
		t.Fatal(err)
	}
	read := func() error {
		_, err := client.Logical().Read("secret/data/a")
		return err
	}

	server.Seal()
	if read() == nil {
		t.Error("a sealed server answers")
	}
	server.Unseal()
	if err := read(); err != nil {
		t.Error(err)
	}

	client.SetMaxRetries(0)
	server.Kill()
	server.Kill()
	if read() == nil {
		t.Error("a killed server answers")
	}
	address := server.Address
	server.Restart()
	if server.Address != address {
		t.Errorf("restarted at %s, was at %s", server.Address, address)
	}
	if err := read(); err != nil {
		t.Error(err)
	}
}
