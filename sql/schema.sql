-- The registry of ceph-lb: one table that says which backends there are now.
--
-- For MariaDB 10.3 and later and for MySQL 8.0.23 and later. It can be run again: what exists
-- already is left as it is.
--
--     mariadb < sql/schema.sql
--
-- The two users are made without a way in. Give each its password, then they can log in:
--
--     ALTER USER 'lb'@'%'      IDENTIFIED BY '...' ACCOUNT UNLOCK;
--     ALTER USER 'backend'@'%' IDENTIFIED BY '...' ACCOUNT UNLOCK;
--
-- A backend by hand, as ever (the other columns are invisible and have defaults):
--
--     INSERT INTO addresses VALUES ('252.3.219.108', '172.16.3.219');
--
-- and with more said about it:
--
--     INSERT INTO addresses (address, port, weight) VALUES ('172.16.3.220', 8080, 2);

CREATE DATABASE IF NOT EXISTS ipaddresses CHARACTER SET utf8mb4;

USE ipaddresses;

CREATE TABLE IF NOT EXISTS addresses (
    containerAddress VARCHAR(45) NOT NULL DEFAULT ''
        COMMENT 'for people only: the address inside a container network',
    address VARCHAR(45) NOT NULL
        COMMENT 'where requests go: an IPv4 or IPv6 address',
    port SMALLINT UNSIGNED NOT NULL DEFAULT 8080 INVISIBLE
        COMMENT 'TCP port of the backend',
    weight INT UNSIGNED NOT NULL DEFAULT 1 INVISIBLE
        COMMENT 'share of the requests; 0 gets none',
    state ENUM('up', 'drain', 'down') NOT NULL DEFAULT 'up' INVISIBLE
        COMMENT 'only up gets requests; drain: finishing what it has',
    backup TINYINT(1) NOT NULL DEFAULT 0 INVISIBLE
        COMMENT '1: gets requests only when no other backend can',
    max_conns INT UNSIGNED NOT NULL DEFAULT 0 INVISIBLE
        COMMENT 'most requests at a time; 0: no limit',
    zone VARCHAR(64) NULL DEFAULT NULL INVISIBLE
        COMMENT 'where it stands, for people and for the status page',
    seen TIMESTAMP(6) NULL DEFAULT NULL INVISIBLE
        COMMENT 'last sign of life of a backend that announces itself; NULL: entered by hand',
    PRIMARY KEY (address, port)
) ENGINE = InnoDB;

-- The load balancers read. The backends keep their own rows, and can do nothing else.
CREATE USER IF NOT EXISTS 'lb'@'%' ACCOUNT LOCK;
CREATE USER IF NOT EXISTS 'backend'@'%' ACCOUNT LOCK;

GRANT SELECT ON ipaddresses.addresses TO 'lb'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON ipaddresses.addresses TO 'backend'@'%';
