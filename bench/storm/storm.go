// Package storm measures how long it takes until all of many requests are answered whose
// token has expired, at several replicas.
package storm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// Section measures a storm of 401s.
var Section = setup.Section{
	Name:  "storm",
	About: "a thousand requests with an expired token at three replicas",
	Run:   run,
}

const (
	replicas = 3
	requests = 1000
	rounds   = 9

	tokenEndpointTakes = 50 * time.Millisecond
)

func run(ctx context.Context, b *setup.Bench) error {
	world, err := newProvider()
	if err != nil {
		return err
	}
	defer world.close()
	sidecars, err := startSidecars(ctx, b, world)
	if err != nil {
		return err
	}
	bare, err := startBare(ctx, b, world)
	if err != nil {
		return err
	}
	var single, storm, proxied []time.Duration
	for round := range rounds {
		for i, measure := range []func(context.Context, int) (time.Duration, error){
			func(ctx context.Context, round int) (time.Duration, error) {
				return world.expired(ctx, fmt.Sprintf("single-%d", round), sidecars[:1], 1)
			},
			func(ctx context.Context, round int) (time.Duration, error) {
				return world.expired(ctx, fmt.Sprintf("storm-%d", round), sidecars, requests)
			},
			func(ctx context.Context, round int) (time.Duration, error) {
				return ask(ctx, fmt.Sprintf("storm-%d", round), bare, requests)
			},
		} {
			took, err := measure(ctx, round)
			if err != nil {
				return err
			}
			times := []*[]time.Duration{&single, &storm, &proxied}[i]
			*times = append(*times, took)
		}
	}
	limit := 3*setup.Median(single) + setup.Median(proxied)
	fmt.Fprintf(b.Out, "\n## A storm of 401s\n\n%d requests for one tenant with an expired token, all at once, at %d replicas on one Vault; the token endpoint takes %v. From the first request until the last answer; connections are made before. Medians of %d rounds, in parentheses the fastest and the slowest.\n\n",
		requests, replicas, tokenEndpointTakes, rounds)
	fmt.Fprintf(b.Out, "| | time |\n|---|---:|\n| one request that is refreshed | %s |\n| the storm, one token request each | **%s** |\n| as many by bare reverse_proxy, all accepted | %s |\n| 3 × the first and the last | %v |\n",
		text(single), text(storm), text(proxied), limit.Round(time.Millisecond))
	return nil
}

func text(times []time.Duration) string {
	ms := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("%v (%v to %v)", ms(setup.Median(times)), ms(slices.Min(times)), ms(slices.Max(times)))
}

// startSidecars starts the replicas on one Vault, which has a credential for each tenant.
func startSidecars(ctx context.Context, b *setup.Bench, world *provider) ([]string, error) {
	vault, err := setup.StartVault(ctx, b, setup.ForOthers.Pin)
	if err != nil {
		return nil, err
	}
	for round := range rounds {
		for _, name := range []string{"single", "storm"} {
			tenant := fmt.Sprintf("%s-%d", name, round)
			if err := vault.Put(ctx, "upstream-auth/crm/"+tenant, world.document(tenant)); err != nil {
				return nil, err
			}
		}
	}
	var addresses []string
	for range replicas {
		dir, err := b.Mkdir("replica")
		if err != nil {
			return nil, err
		}
		token := filepath.Join(dir, "token")
		if err := os.WriteFile(token, []byte(vault.Token), 0o600); err != nil {
			return nil, err
		}
		options := fmt.Sprintf(`store vault {
				address %s
				auth token_file %s
			}
			journal %s
			provider crm {
				oauth2 {
					token_url http://%s/token
					client_id app
					client_secret {env.HOME}
				}
			}`, vault.Address, token, filepath.Join(dir, "journal"), world.address)
		c, err := setup.StartCaddy(ctx, b, dir, setup.Sidecar{Options: options, Site: "upstream_auth crm " + proxyTo(world.address)})
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, c.Address)
	}
	return addresses, nil
}

func startBare(ctx context.Context, b *setup.Bench, world *provider) ([]string, error) {
	var addresses []string
	for range replicas {
		dir, err := b.Mkdir("bare")
		if err != nil {
			return nil, err
		}
		var c *process.Caddy
		if c, err = setup.StartCaddy(ctx, b, dir, setup.Sidecar{Site: "reverse_proxy " + proxyTo(world.address)}); err != nil {
			return nil, err
		}
		addresses = append(addresses, c.Address)
	}
	return addresses, nil
}

// proxyTo keeps as many idle connections to the upstream as there are requests.
func proxyTo(address string) string {
	return fmt.Sprintf("%s {\ntransport http {\nkeepalive_idle_conns_per_host %d\n}\n}", address, requests)
}
