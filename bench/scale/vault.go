package scale

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

const (
	vaultTenants = 400 // half of them idle
	cacheTTL     = 5 * time.Second
	ttls         = 4 // for how many of them it is measured
)

// vault counts what a sidecar under steady load reads of Vault.
func vault(ctx context.Context, b *setup.Bench) error {
	up, err := newUpstream()
	if err != nil {
		return err
	}
	defer up.close()
	v, err := setup.StartVault(ctx, b, setup.ForOthers.Pin)
	if err != nil {
		return err
	}
	tenants := names(vaultTenants)
	for _, tenant := range tenants {
		if err := v.Put(ctx, "upstream-auth/crm/"+tenant, document(tenant)); err != nil {
			return err
		}
	}
	reads, address, closeCounter, err := countReads(v.Address)
	if err != nil {
		return err
	}
	defer closeCounter()
	dir, err := b.Mkdir("vault")
	if err != nil {
		return err
	}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(v.Token), 0o600); err != nil {
		return err
	}
	store := fmt.Sprintf("store vault {\naddress %s\nauth token_file %s\ncache_ttl %v\n}\njournal %s", address, token, cacheTTL, filepath.Join(dir, "journal"))
	c, err := setup.StartCaddy(ctx, b, dir, setup.Sidecar{
		Options: store + "\n" + fmt.Sprintf(provider, "https://login.example.com/token"), Site: "upstream_auth crm " + up.address,
	})
	if err != nil {
		return err
	}
	defer c.Kill()
	// All have been asked for once; half are asked for all the time.
	if _, err := get(c.Address, tenants, 8); err != nil {
		return err
	}
	before := reads.total(tenants)
	busy, requests := tenants[:vaultTenants/2], 0
	begun := time.Now()
	for time.Since(begun) < ttls*cacheTTL {
		if _, err := get(c.Address, busy, 8); err != nil {
			return err
		}
		requests += len(busy)
	}
	took := time.Since(begun)
	perTTL := float64(reads.total(busy)-before/2) / float64(len(busy)) / (took.Seconds() / cacheTTL.Seconds())
	fmt.Fprintf(b.Out, "\n## What is read of Vault\n\n%d tenants asked for all the time, as many idle; cache_ttl %v; %v; a proxy before Vault counts.\n\n", len(busy), cacheTTL, took.Round(time.Second))
	fmt.Fprintf(b.Out, "- %d requests, %.1f reads of Vault a second: **%.2f** for each busy tenant and cache_ttl, **%d** for the idle ones.\n",
		requests, float64(reads.total(busy)-before/2)/took.Seconds(), perTTL, reads.total(tenants[vaultTenants/2:])-before/2)
	return nil
}

// counts are reads by tenant.
type counts struct {
	mu sync.Mutex
	by map[string]int
}

func (c *counts) total(tenants []string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := 0
	for _, tenant := range tenants {
		sum += c.by[tenant]
	}
	return sum
}

// countReads puts a proxy that counts before a server, and returns its URL.
func countReads(server string) (*counts, string, func(), error) {
	to, err := url.Parse(server)
	if err != nil {
		return nil, "", nil, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, err
	}
	c := &counts{by: make(map[string]int)}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		if tenant, ok := strings.CutPrefix(r.In.URL.Path, "/v1/secret/data/upstream-auth/crm/"); ok && r.In.Method == http.MethodGet {
			c.mu.Lock()
			c.by[tenant]++
			c.mu.Unlock()
		}
		r.SetURL(to)
	}}
	s := &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(listener) }()
	return c, "http://" + listener.Addr().String(), func() { _ = s.Close() }, nil
}
