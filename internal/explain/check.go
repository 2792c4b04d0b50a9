package explain

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
)

// Names of what is looked at besides the store, see [Check].
const (
	CheckTokenEndpoint = "token_endpoint"
	CheckApplication   = "application"

	checkJournal = "journal"
	checkFile    = "file"
	checkIssuer  = "issuer"
	checkRefresh = "refresh"
)

// reachTimeout bounds the way to one endpoint.
const reachTimeout = 5 * time.Second

// File reads a file that is read again while Caddy runs.
func File(what, file string) Check {
	return Check{Name: checkFile, Look: func(context.Context) []credential.Finding {
		content, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			return []credential.Finding{{
				Check: checkFile, Detail: fmt.Sprintf("%s: %v", what, err),
				Remedy: fmt.Sprintf("Have %s exist and be readable for the user that Caddy runs as.", file),
			}}
		case err != nil:
			return []credential.Finding{{Check: checkFile, Detail: fmt.Sprintf("%s: %v", what, err), Remedy: "Have it be a file that can be read."}}
		case len(content) == 0:
			return []credential.Finding{{Check: checkFile, Detail: what + " is empty: " + file, Remedy: "Write into it what it is for."}}
		}
		return []credential.Finding{{Check: checkFile, OK: true, Detail: what + " can be read: " + file}}
	}}
}

// openModes are the bits of a secret file's mode that are too many: with them others read
// it, or the group writes it.
const openModes = 0o027

// Private looks at whether the mode of a file that holds a secret keeps it from others.
// Whether it is there at all is no matter of this one.
func Private(what, file string) Check {
	return Check{Name: checkFile, AtStart: true, Look: func(context.Context) []credential.Finding {
		info, err := os.Stat(file)
		if err != nil || info.Mode()&openModes == 0 || runtime.GOOS == "windows" {
			return nil
		}
		return []credential.Finding{{
			Check:  checkFile,
			Detail: fmt.Sprintf("%s is open to others: %s has mode %04o", what, file, info.Mode().Perm()),
			Remedy: fmt.Sprintf("chmod 0600 %s, or have what mounts it give it that mode; if others can have read it, change the secret.", file),
		}}
	}}
}

// Journal looks at the directory of the journals.
func Journal(dir string) Check {
	return Check{Name: checkJournal, AtStart: true, Look: func(context.Context) []credential.Finding {
		return []credential.Finding{examineJournal(dir)}
	}}
}

func examineJournal(dir string) credential.Finding {
	system, err := journal.Inspect(dir)
	switch {
	case err != nil:
		return credential.Finding{
			Check: checkJournal, Detail: fmt.Sprintf("no journal can be kept, so nothing is refreshed: %v", err),
			Remedy: fmt.Sprintf("Have %s be a directory that the user that Caddy runs as can write to, or name another one with journal.", dir),
		}
	case system.Remote:
		return credential.Finding{
			Check: checkJournal, Detail: fmt.Sprintf("the journal's directory %s lies on another machine's file system (%s)", dir, system.Name),
			Remedy: "Name a directory on this machine's own disk with journal: on another's, a lock does not tell who is alive.",
		}
	case system.Exposed != "":
		return credential.Finding{
			Check:  checkJournal,
			Detail: fmt.Sprintf("the journal's directory %s is open to others, who can remove tokens that are not in the store yet: %s", dir, system.Exposed),
			Remedy: fmt.Sprintf("Keep others out: chmod -R u=rwX,go= %s", dir),
		}
	case system.Volatile:
		return credential.Finding{
			Check: checkJournal, OK: true, Warning: true,
			Detail: fmt.Sprintf("the journal can be written, at %s. That is in memory (%s): a restart of the machine loses tokens that are not in the store yet", dir, system.Name),
		}
	}
	return credential.Finding{Check: checkJournal, OK: true, Detail: "the journal can be written, at " + dir}
}

// Endpoint connects to a server as far as TLS and sends nothing.
func Endpoint(name, what, address string, conf *tls.Config) Check {
	return Check{Name: name, Look: func(ctx context.Context) []credential.Finding {
		ctx, cancel := context.WithTimeout(ctx, reachTimeout)
		defer cancel()
		through, err := reach(ctx, address, conf, http.ProxyFromEnvironment)
		place := hostOf(address) + through
		if err != nil {
			detail, remedy := explainUnreachable(err)
			return []credential.Finding{{Check: name, Detail: fmt.Sprintf("%s cannot be reached at %s: %s", what, place, detail), Remedy: remedy}}
		}
		return []credential.Finding{{Check: name, OK: true, Detail: what + " can be reached at " + place}}
	}}
}

// reach connects to a server: TCP, and TLS for https. If there is a proxy it goes no
// further than that, and says so.
func reach(ctx context.Context, address string, conf *tls.Config, proxyFor func(*http.Request) (*url.URL, error)) (through string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("its URL cannot be read")
	}
	proxy, err := proxyFor(&http.Request{URL: u})
	switch {
	case err != nil:
		return "", errors.New("the environment names a proxy that cannot be understood")
	case proxy != nil:
		through, u, conf = " (as far as the proxy "+proxy.Host+")", &url.URL{Scheme: proxy.Scheme, Host: proxy.Host}, nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	if port == "" {
		port = "80"
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil || u.Scheme != "https" {
		if err == nil {
			conn.Close()
		}
		return through, err
	}
	defer conn.Close()
	if conf = conf.Clone(); conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	conf.ServerName = u.Hostname()
	return through, tls.Client(conn, conf).HandshakeContext(ctx)
}

// explainUnreachable puts what became of a connection into words.
func explainUnreachable(err error) (detail, remedy string) {
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return "its name is not known", "Check the name in the configuration, and that this machine's DNS knows it."
	case errors.As(err, &certificate):
		return "its certificate is not trusted: " + certificate.Err.Error(),
			"Have the authority that signed it be trusted on this machine, or the name in the configuration be the one in the certificate."
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time", "Check the address, and whether a firewall lets this machine connect to it."
	}
	return err.Error(), "Check that the address is right, that the server runs and that no firewall is in the way."
}
