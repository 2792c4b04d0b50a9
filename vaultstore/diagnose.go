package vaultstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Names of what Diagnose looks at.
const (
	checkVault  = "vault"
	checkLogin  = "login"
	checkMount  = "mount"
	checkPolicy = "policy"
	checkClock  = "clock"
)

// maxSkew is how far Vault's clock and ours may be apart: a JSON Web Token is good
// from one second to another, and so is an access token.
const maxSkew = 5 * time.Second

// statusSecondary is the status of sys/health for a disaster recovery secondary
// (https://developer.hashicorp.com/vault/api-docs/system/health).
const statusSecondary = 472

// Diagnose looks at all that the store needs of Vault for these providers, in the
// order in which it needs it: that Vault answers and is unsealed, a login, the
// mount, what the policy allows, and the clocks. What makes no sense without the
// findings before is left out. It writes nothing to Vault, and takes no longer than
// ctx lasts; each request is bounded by the configured timeout besides.
func (s *Store) Diagnose(ctx context.Context, providers []string) []credential.Finding {
	s.Open()
	defer s.leave()
	start := time.Now()
	health, err := s.askHealth(ctx)
	vault, serves := s.judgeHealth(health, err)
	findings := []credential.Finding{vault}
	if serves {
		login, ok := s.diagnoseLogin(ctx)
		findings = append(findings, login)
		if ok {
			findings = append(findings, s.diagnoseMount(ctx))
			findings = append(findings, s.diagnosePolicy(ctx, providers)...)
		}
	}
	if err == nil {
		findings = append(findings, judgeClock(health.date, start, health.took))
	}
	return findings
}

// healthAnswer is an answer to sys/health and how long it took.
type healthAnswer struct {
	answer
	took time.Duration
}

// askHealth asks for Vault's health, as anybody may. Only the root namespace
// answers that.
func (s *Store) askHealth(ctx context.Context) (healthAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	start := time.Now()
	a, err := send(ctx, s.client.WithNamespace(""), "", request{method: http.MethodGet, path: "sys/health"})
	return healthAnswer{a, time.Since(start)}, err
}

// ask makes a request with the session's token.
func (s *Store) ask(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	return s.call(ctx, r)
}

// judgeHealth says what became of askHealth, and whether there is a point in
// asking for more.
func (s *Store) judgeHealth(a healthAnswer, err error) (f credential.Finding, serves bool) {
	if err != nil {
		return credential.Finding{
			Check:  checkVault,
			Detail: fmt.Sprintf("Vault does not answer at %s: %v", s.cfg.Address, err),
			Remedy: s.connectionRemedy(err),
		}, false
	}
	var said struct {
		Initialized *bool // a pointer: only Vault says so at all
		Sealed      bool
		Standby     bool
		Version     string
	}
	switch broken := json.Unmarshal(a.body, &said); {
	case broken != nil || said.Initialized == nil:
		return credential.Finding{
			Check:  checkVault,
			Detail: fmt.Sprintf("%s answers, with status %d, but not as Vault does", s.cfg.Address, a.status),
			Remedy: fmt.Sprintf("Set address to Vault's own; if there is a proxy before it, have it let sys/health pass. To see what answers: curl -i %s/v1/sys/health", s.cfg.Address),
		}, true
	case !*said.Initialized:
		return credential.Finding{Check: checkVault, Detail: "Vault is not initialized", Remedy: "Initialize it: vault operator init"}, false
	case said.Sealed:
		return credential.Finding{
			Check:  checkVault,
			Detail: "Vault is sealed",
			Remedy: "Unseal it: vault operator unseal. If it should unseal by itself, its log says why it does not.",
		}, false
	case a.status == statusSecondary:
		return credential.Finding{
			Check:  checkVault,
			Detail: "Vault is a disaster recovery secondary, which serves no requests",
			Remedy: "Set address to the primary cluster.",
		}, false
	}
	detail := fmt.Sprintf("Vault %s answers at %s and is unsealed", cmp.Or(oneLine(said.Version), "of an unknown version"), s.cfg.Address)
	if said.Standby {
		detail += "; this node is a standby"
	}
	return credential.Finding{Check: checkVault, OK: true, Detail: detail}, true
}

// connectionRemedy is what to do about a request that was not answered.
func (s *Store) connectionRemedy(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "Set tls_ca to a file with the authority that signed Vault's certificate, and tls_server_name to a name that is in the certificate."
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return fileRemedy(file)
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "Have address begin with the scheme that Vault's listener speaks: https, or http for a loopback host."
	}
	return fmt.Sprintf("Check that address is right, that Vault runs and that no firewall is in the way: curl -i %s/v1/sys/health", s.cfg.Address)
}

func fileRemedy(err *fs.PathError) string {
	return fmt.Sprintf("Have %s exist and be readable for the user that this process runs as.", err.Path)
}

// diagnoseMount says whether the secrets engine is the configured one.
func (s *Store) diagnoseMount(ctx context.Context) credential.Finding {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	f := credential.Finding{Check: checkMount}
	err := s.checkMount(ctx, true)
	if wrong, ok := errors.AsType[*mountError](err); ok {
		f.Detail, f.Remedy = wrong.detail, wrong.remedy
		return f
	}
	switch state := s.mount.state.Load(); {
	case err != nil:
		f.Detail = fmt.Sprintf("asking Vault for the mount %q: %v", s.cfg.Mount, err)
		f.Remedy = s.connectionRemedy(err)
	case state != nil && state.confirmed:
		f.OK = true
		f.Detail = fmt.Sprintf("mount %q is a KV secrets engine of version %d", s.cfg.Mount, s.cfg.KVVersion)
	default:
		f.Detail = fmt.Sprintf("Vault does not say what is at the mount %q: there is none, or the token may do nothing below it", s.cfg.Mount)
		f.Remedy = "See whether vault secrets list shows it; if not: " + enableCommand(s.cfg.Mount, s.cfg.KVVersion)
	}
	return f
}

// judgeClock compares Vault's time, which counts whole seconds, with ours when its
// answer was written: somewhen in the time that the request took.
func judgeClock(vault, start time.Time, took time.Duration) credential.Finding {
	if vault.IsZero() {
		return credential.Finding{Check: checkClock, OK: true, Detail: "Vault's answers do not say what time it is"}
	}
	ahead := vault.Add(time.Second / 2).Sub(start.Add(took / 2))
	if ahead.Abs()-took/2 <= maxSkew {
		return credential.Finding{Check: checkClock, OK: true, Detail: "Vault's clock and this machine's agree to within seconds"}
	}
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	return credential.Finding{
		Check:  checkClock,
		Detail: fmt.Sprintf("Vault's clock is about %v %s this machine's", ahead.Abs().Truncate(time.Second), direction),
		Remedy: "Set the clock that is wrong, and keep it right by NTP: timedatectl set-ntp true. Logins by JWT and times of expiry depend on it.",
	}
}
