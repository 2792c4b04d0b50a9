package setup

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// Vault is a running Vault, for tests, with KV version 2 at secret/.
type Vault struct {
	Address string // URL
	Token   string // may do anything
}

var rootToken = regexp.MustCompile(`(?m)^Root Token: (\S+)$`)

// StartVault starts a Vault that keeps its data in memory, on the processors that pin says.
func StartVault(ctx context.Context, b *Bench, pin func(process.Command) process.Command) (*Vault, error) {
	path, err := b.Path(Devvault)
	if err != nil {
		return nil, err
	}
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	p, err := b.Start(pin(process.Command{Path: path, Args: []string{"server", "-dev", "-dev-listen-address=" + address}}))
	if err != nil {
		return nil, fmt.Errorf("starting Vault: %w", err)
	}
	v := &Vault{Address: "http://" + address}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = p.Await(ctx, func(context.Context) error {
		match := rootToken.FindSubmatch(p.Output())
		if match == nil {
			return fmt.Errorf("starting Vault: no token yet")
		}
		v.Token = string(match[1])
		return nil
	})
	return v, err
}

// Put writes a document of KV version 2.
func (v *Vault) Put(ctx context.Context, path, document string) error {
	body := bytes.NewBufferString(`{"data":` + document + `}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.Address+"/v1/secret/data/"+strings.TrimPrefix(path, "/"), body)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", v.Token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("writing to Vault: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("writing to Vault: %s", res.Status)
	}
	return nil
}
