package localstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Names of what Diagnose looks at.
const (
	checkKeyFile  = "key_file"
	checkDatabase = "database"
)

var errRemoved = errors.New("the file was removed while it is open: what is written is gone when this process ends")

// Diagnose looks at the key file and at the database, from which it reads an entry of
// each of these providers. It makes no file that is not there, and takes no longer
// than ctx lasts.
func (s *Store) Diagnose(ctx context.Context, providers []string) []credential.Finding {
	s.mu.Lock()
	isOpen := s.db != nil
	s.mu.Unlock()
	_, err := os.Stat(s.config.Path)
	absent := errors.Is(err, fs.ErrNotExist)

	database := credential.Finding{Check: checkDatabase, OK: true}
	if absent && !isOpen {
		database.Detail = fmt.Sprintf("%s does not exist yet; its first use makes it", s.config.Path)
		return []credential.Finding{s.config.diagnoseKey(true), database}
	}
	if err = errRemoved; !absent {
		err = s.readSome(ctx, providers)
	}
	database.Detail = fmt.Sprintf("%s opens and can be read", s.config.Path)
	if err != nil {
		database = credential.Finding{Check: checkDatabase, Detail: err.Error(), Remedy: s.config.databaseRemedy(err)}
	}
	return []credential.Finding{s.config.diagnoseKey(false), database}
}

// diagnoseKey says whether the key file can be used; a database that is to be made
// makes it.
func (c Config) diagnoseKey(fresh bool) credential.Finding {
	_, err := readKey(c.KeyFile)
	if errors.Is(err, fs.ErrNotExist) && fresh {
		return credential.Finding{Check: checkKeyFile, OK: true, Detail: fmt.Sprintf("%s does not exist yet; it is made with the database", c.KeyFile)}
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(c.KeyFile)
	}
	if err != nil {
		return credential.Finding{Check: checkKeyFile, Detail: fmt.Sprintf("key file: %v", err), Remedy: c.keyRemedy(err)}
	}
	return credential.Finding{Check: checkKeyFile, OK: true, Detail: fmt.Sprintf("%s holds a key and has mode %04o", c.KeyFile, info.Mode().Perm())}
}

func (c Config) keyRemedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "Make it readable for the user that this process runs as: chown USER " + c.KeyFile
	case errors.Is(err, errWritable):
		return "If nobody else can have changed it: chmod 0600 " + c.KeyFile
	default:
		return fmt.Sprintf("Put the key file back that belongs to %s, or set key_file to where it is. Without it the database is worth nothing.", c.Path)
	}
}

func (c Config) databaseRemedy(err error) string {
	switch {
	case errors.Is(err, errInUse):
		return fmt.Sprintf("Stop the other process, which fuser -v %s shows, or have this one keep its credentials in another file.", c.Path)
	case errors.Is(err, errOtherKey), errors.Is(err, fs.ErrNotExist), errors.Is(err, errWritable):
		return "See to the key file: " + c.keyRemedy(err)
	case errors.Is(err, errPutBack), errors.Is(err, errNoIndex):
		return fmt.Sprintf("See who can write %s besides this process. Then stop it, put all of a backup back, and have the tenants whose tokens have changed since authorize anew.", c.Path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("Give the files to the user that this process runs as: chown USER %s %s", c.Path, c.KeyFile)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, errClosed):
		return "Try again."
	default:
		return fmt.Sprintf("Stop this process, put a backup of %s back, together with its key file, and start again.", c.Path)
	}
}

// readSome opens the database and reads the first entry of each provider.
func (s *Store) readSome(ctx context.Context, providers []string) error {
	if _, err := s.open(ctx); err != nil {
		return err
	}
	for _, provider := range providers {
		tenants, err := s.List(ctx, provider, "", 1)
		if err != nil {
			return fmt.Errorf("provider %s: %w", provider, err)
		}
		for _, tenant := range tenants {
			_, err := s.Get(ctx, credential.Key{Provider: provider, Tenant: tenant})
			if err != nil && !errors.Is(err, credential.ErrNotFound) {
				return fmt.Errorf("provider %s: %w", provider, err)
			}
		}
	}
	return nil
}
