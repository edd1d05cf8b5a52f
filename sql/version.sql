-- A version of the registry's table, for load balancers that have many backends. It changes with every
-- change of the table that they must know of, in the same transaction; that a backend was seen is not one.
--
--     mariadb < sql/version.sql
--
-- and in the upstream's block
--
--     ceph_lb URL "version_query=SELECT version FROM addresses_version";
--
-- After sql/schema.sql, and with the same versions of MariaDB and MySQL. It can be run again.
--
-- Transactions that change the table wait for one another from now on, until they are committed.
-- TRUNCATE TABLE and changes of the table's definition run no triggers: load balancers know of them a
-- second later.

USE ipaddresses;

CREATE TABLE IF NOT EXISTS addresses_version (
    id TINYINT UNSIGNED NOT NULL DEFAULT 1 PRIMARY KEY CHECK (id = 1),
    version BIGINT UNSIGNED NOT NULL
        COMMENT 'another one after each change of addresses, never one that was there before'
) ENGINE = InnoDB;

-- No version comes twice, not even if the table is made anew.
INSERT IGNORE INTO addresses_version (id, version) VALUES (1, UUID_SHORT());

DROP TRIGGER IF EXISTS addresses_inserted;
DROP TRIGGER IF EXISTS addresses_updated;
DROP TRIGGER IF EXISTS addresses_deleted;

CREATE TRIGGER addresses_inserted AFTER INSERT ON addresses FOR EACH ROW
    UPDATE addresses_version SET version = UUID_SHORT();

CREATE TRIGGER addresses_deleted AFTER DELETE ON addresses FOR EACH ROW
    UPDATE addresses_version SET version = UUID_SHORT();

DELIMITER //

CREATE TRIGGER addresses_updated AFTER UPDATE ON addresses FOR EACH ROW
BEGIN
    -- Those that only say that they are still there must not wait for others.
    IF NOT (NEW.address <=> OLD.address AND NEW.port <=> OLD.port AND NEW.weight <=> OLD.weight
            AND NEW.state <=> OLD.state AND NEW.backup <=> OLD.backup AND NEW.max_conns <=> OLD.max_conns
            AND NEW.zone <=> OLD.zone AND (NEW.seen IS NULL) = (OLD.seen IS NULL)) THEN
        UPDATE addresses_version SET version = UUID_SHORT();
    END IF;
END//

DELIMITER ;

-- For what was changed while there were no triggers.
UPDATE addresses_version SET version = UUID_SHORT();

-- The load balancers read.
GRANT SELECT ON ipaddresses.addresses_version TO 'lb'@'%';
