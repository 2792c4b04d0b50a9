package compare

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

// Profile takes a profile of the product under the loads of the comparison, for
// profile-guided optimisation.
var Profile = setup.Section{
	Name:  "profile",
	About: "a profile for profile-guided optimisation; not done unless it is named",
	Run:   profile,
	Named: true,
}

var profileFile = flag.String("profile", "", "profile: file for it")

func profile(ctx context.Context, b *setup.Bench) error {
	if *profileFile == "" {
		return fmt.Errorf("-profile names no file")
	}
	*against = oauth2
	running, loads, scripts, err := prepare(ctx, b)
	if err != nil {
		return err
	}
	c := running[oauth2]
	const each = 10 * time.Second
	var chosen []load
	for _, l := range loads {
		if l.connections == 16 || l.name == "upload 1 MiB" {
			l.duration = each
			chosen = append(chosen, l)
		}
	}
	seconds := int(each.Seconds()) * len(chosen)
	fetched := make(chan error, 1)
	go func() { fetched <- fetchProfile(ctx, c.admin, seconds, *profileFile) }()
	for _, l := range chosen {
		if _, err := l.run(ctx, c, scripts); err != nil {
			return err
		}
	}
	return <-fetched
}

// fetchProfile has a Caddy profile itself for so long.
func fetchProfile(ctx context.Context, admin string, seconds int, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, seconds), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("taking a profile: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("taking a profile: %s", res.Status)
	}
	content, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("taking a profile: %w", err)
	}
	return os.WriteFile(file, content, 0o600)
}
